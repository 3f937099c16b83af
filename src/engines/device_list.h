// The accelerators that an engine sees on this machine, asked of its worker executable: the program itself links no engine.
//
// How: `evenkeel-worker-NAME --devices` prints a JSON list of {"name", "full_name", "cores", "memory_bytes"} and exits 0. The processor is not
//   in it. Cores and memory are 0 where the driver does not tell them.
// Thread-safety: thread-safe.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "core/clock.h"
#include "core/status.h"

namespace evenkeel {

struct EngineDevice {
  std::string name;       // as EngineOptions::device takes it: "GPU", "GPU.1", "NPU"
  std::string full_name;  // as the driver says it
  int cores = 0;          // compute units
  int64_t memory_bytes = 0;
};

std::string EncodeDevices(const std::vector<EngineDevice>& devices);
// Error kInternal: not such a list.
Result<std::vector<EngineDevice>> DecodeDevices(std::string_view json);

// Blocks until the executable ended, `limit` at most. Errors: kUnavailable (does not start, fails, takes too long), kInternal.
Result<std::vector<EngineDevice>> ListDevices(const std::string& executable,
                                              Duration limit = std::chrono::seconds(10));

}  // namespace evenkeel
