// How fast this host computes and reads its memory, by trying (B1).
//
// What counts is what this process may use: as many threads as whole or begun cores of its quota and affinity, together; a quota shows in the figures.
// Contract: MeasureHostSpeed() takes about `time` (half for each figure) and 64 MiB for each thread. Units: as named; a multiply and an add are two
//   operations, 32 bits, with the widest vectors that the compiler's clones have here.
// Thread-safety: thread-safe; two at once disturb each other.
#pragma once

#include <string>
#include <string_view>

#include "core/clock.h"
#include "core/status.h"

namespace evenkeel {

struct HostSpeed {
  double gflops = 0;
  double memory_gb_s = 0;  // read
  int threads = 0;
};

HostSpeed MeasureHostSpeed(int threads, Duration time);

// Threads that this process may keep busy, and the cores' time that they get together.
struct OwnCores {
  int threads = 1;
  double cores = 1;
};
OwnCores CoresOfThisProcess();

// A measured speed as it is kept: with the fingerprint of the hardware and the cores that it holds for.
std::string WriteHostSpeed(const HostSpeed& speed, std::string_view fingerprint, double cores);
// Errors: kInvalidArgument (not such a text), kNotFound (of other hardware, or other cores).
Result<HostSpeed> ReadHostSpeed(std::string_view text, std::string_view fingerprint, double cores);

// The kept one of `file`, else a new one, which is then kept there. `measured` (may be null): whether it was measured now. A file that can't be written is no error.
HostSpeed HostSpeedOf(const std::string& file, std::string_view fingerprint, bool again,
                      Duration time, bool* measured);

}  // namespace evenkeel
