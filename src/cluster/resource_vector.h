// What a server can give, measured, and how it is connected (B1).
//
// Units: as named. Zero: it has none of it. Thread-safety: values.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace evenkeel {

// A GPU or another device beside the processor, or a share of one.
struct AcceleratorResources {
  std::string backend;  // "CUDA", "GPU", "EMULATED"
  double gflops = 0;
  double memory_gb_s = 0;
  int64_t memory_bytes = 0;
  double cores = 0;
};

struct ResourceVector {
  double cores = 0;   // that may be used: quotas and sets of processors count
  double gflops = 0;  // of all of them together, 32 bits
  double memory_gb_s = 0;
  int64_t memory_bytes = 0;
  int64_t disk_bytes = 0;
  std::vector<AcceleratorResources> accelerators;
  std::optional<double> power_w;  // budget, where one can be read
  std::string fingerprint;        // of the hardware that was measured
};

struct Link {
  double bytes_per_s = 0;  // 0: none
  double round_trip_s = 0;
};

// A node as the planner sees it: what it has, and how much of that is free now.
struct NodeState {
  std::string name;
  ResourceVector total;
  double free_compute =
      1;  // share of processor and memory bandwidth that nothing else takes, (0, 1]
  int64_t free_memory_bytes = 0;
  std::vector<int64_t> free_accelerator_bytes;  // by accelerator
  double load_s = 0;                            // work that it has already
  double power_used_w = 0;
};

}  // namespace evenkeel
