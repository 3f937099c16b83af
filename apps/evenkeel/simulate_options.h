// What `evenkeel simulate` is asked to do, as text and as the simulator takes it.
//
// Contract: ParseMix() reads tables and arrivals; errors (kInvalidArgument, kNotFound) name the flag's part or the file and line.
// Thread-safety: main thread only.
#pragma once

#include <string>
#include <vector>

#include "core/status.h"
#include "sim/simulation.h"

namespace evenkeel {

struct SimulateFlags {
  std::vector<std::string> tables;
  std::vector<std::string> arrivals;  // NAME[@TABLE][;KEY=VALUE...]=SPEC
  std::vector<std::string> objectives, threads, instances, rows, max_batch, delays, preferred,
      classes, gpu_shapes, gpu_instances;  // NAME=VALUE
  std::string policy;  // `method` has Y_batch (A5) and a GPU shape (A6) from the tables
  double ratio_threshold = evenkeel::policy::kRatioThreshold;  // A5's
  std::string device;  // CORESc/MEMORY: the accelerator; empty: any size
};

Result<std::vector<sim::SimModel>> ParseMix(const SimulateFlags& flags);

// The text after "NAME=" of the one entry that names the model; empty: there is none. Error kInvalidArgument.
Result<std::string> ValueFor(const std::vector<std::string>& entries, const std::string& name);

}  // namespace evenkeel
