// An emulated accelerator, as the operator describes it: for tests and simulation only. It is no device: a worker computes on the
// processor and takes the time and memory that these figures say (engines/emulated/).
//
// Text: `16c/4GiB,a=2ms,c=0.05ms,m0=100MiB,m1=2MiB[,serial=0.2][,host=0]`
//   16c/4GiB   cores and memory of the whole device
//   a, c       a batch of b rows on all cores takes T(b) = a + c b
//   m0, m1     it takes m0 + m1 b of the device's memory (the model and its rows); default 0
//   serial     share of T that cores do not shorten, 0 to 1; default 0.2
//   host       processor cores that a running batch keeps from others, 0 or 1; default 0
// Formula (Amdahl): on g of the device's G cores  T(b, g) = (a + c b) (serial + (1 - serial) G / g).
// Contract: Parse and Format are inverse. Errors are kInvalidArgument and say what was expected and what came.
// Units: at each field. Thread-safety: values. Source: A2, A3.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "core/clock.h"
#include "core/device_size.h"
#include "core/status.h"

namespace evenkeel {

struct EmulatedGpu {
  DeviceSize size;    // of the whole device
  Duration a{}, c{};  // up to an hour; not both 0
  int64_t m0_bytes = 0, m1_bytes = 0;
  double serial = 0.2;  // 0 to 1
  int host_cores = 0;   // 0 or 1
  bool operator==(const EmulatedGpu&) const = default;
};

// What one instance gets of it.
struct EmulatedShare {
  Duration a{}, c{};  // on its cores
  int64_t m0_bytes = 0, m1_bytes = 0;
  int64_t memory_bytes = 0;  // of the device
  int cores = 1;             // of the device
  bool operator==(const EmulatedShare&) const = default;

  Duration Takes(int64_t rows) const { return a + rows * c; }
  // Saturates: no number of rows overflows.
  int64_t Needs(int64_t rows) const;
};

Result<EmulatedGpu> ParseEmulatedGpu(std::string_view text);
std::string FormatEmulatedGpu(const EmulatedGpu& gpu);

// REQUIRES: 1 <= share.cores <= gpu.size.cores.
EmulatedShare ShareOf(const EmulatedGpu& gpu, const DeviceSize& share);

}  // namespace evenkeel
