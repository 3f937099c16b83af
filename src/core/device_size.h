// Cores and memory of an accelerator or of a share of one, as people write them: `16c/4GiB`.
//
// Contract: Parse and Format are inverse. Errors are kInvalidArgument and say what was expected and what came.
// Units: compute units (SMs on NVIDIA), bytes. Thread-safety: values.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "core/status.h"

namespace evenkeel {

inline constexpr int kMaxDeviceCores = 65'536;
inline constexpr int64_t kMinDeviceMemory = int64_t{16} << 20;
inline constexpr int64_t kMaxDeviceMemory = int64_t{16} << 40;

struct DeviceSize {
  int cores = 0;             // 1 to kMaxDeviceCores; 0: not said
  int64_t memory_bytes = 0;  // kMinDeviceMemory to kMaxDeviceMemory
  bool operator==(const DeviceSize&) const = default;
};

Result<DeviceSize> ParseDeviceSize(std::string_view text);
std::string FormatDeviceSize(const DeviceSize& size);

}  // namespace evenkeel
