// The size of a worker: cores, memory, and a share of a GPU for one that uses it.
//
// Contract: values; Parse and Print are inverse. `2c/512MiB`, `0.5c/256MiB`, with a GPU
//   `1c/512MiB+gpu0:16c/2GiB`. ShapesOf() lists what a host can hold, smallest first.
// Units: cores in thousandths, memory in bytes. Thread-safety: values.
// Source: A3 (CPU: several memory and core counts; GPU: set memory and GPU cores).
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "core/status.h"

namespace evenkeel {

inline constexpr int64_t kMinShapeMemory = int64_t{16} << 20;
inline constexpr int kMinMilliCores = 100;  // a tenth: the least that a quota of 10 ms holds
inline constexpr int kMaxMilliCores = 4096 * 1000;  // 4,096 cores

struct GpuShape {
  int device = 0;            // number of the device, 0 to 63
  int cores = 0;             // compute units (SMs on NVIDIA), 1 to 65,536
  int64_t memory_bytes = 0;  // of the device, at least kMinShapeMemory
  bool operator==(const GpuShape&) const = default;
};

struct WorkerShape {
  int milli_cores = 1000;                     // kMinMilliCores to kMaxMilliCores
  int64_t memory_bytes = int64_t{512} << 20;  // at least kMinShapeMemory
  std::optional<GpuShape> gpu;

  // Engine threads that make sense on these cores: rounded up, at least 1.
  int threads() const { return (milli_cores + 999) / 1000; }
  bool whole_cores() const { return milli_cores % 1000 == 0; }
  double cores() const { return milli_cores / 1000.0; }
  bool operator==(const WorkerShape&) const = default;
};

// Error kInvalidArgument: what was expected and what came.
Result<WorkerShape> ParseWorkerShape(std::string_view text);
std::string FormatWorkerShape(const WorkerShape& shape);

// What there is to divide: processors and memory that this process may use.
struct HostCapacity {
  int milli_cores = 1000;  // affinity and the control group's quota, whichever is less
  int64_t memory_bytes = 0;
};

// Error kInvalidArgument names shape and host. A shape as large as the host fits.
Status CheckFits(const WorkerShape& shape, const HostCapacity& host);

// 0.5, 1, 2, 4 ... cores and the host's own number x 256 MiB, 512 MiB ... as far as the host goes.
std::vector<WorkerShape> ShapesOf(const HostCapacity& host);

// A GPU to divide, as the driver describes it.
struct GpuCapacity {
  int device = 0;
  int cores = 0;
  int64_t memory_bytes = 0;
};

// A quarter, half and all of the device's cores x 1 GiB, 2 GiB ... of its memory (and all of it), each beside
// one host core and 1 GiB of host memory, where the host has them.
std::vector<WorkerShape> GpuShapesOf(const GpuCapacity& gpu, const HostCapacity& host);

}  // namespace evenkeel
