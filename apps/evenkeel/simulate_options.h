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
  std::vector<std::string> objectives, threads, instances, rows, max_batch, delays,
      preferred;  // NAME=VALUE
};

Result<std::vector<sim::SimModel>> ParseMix(const SimulateFlags& flags);

}  // namespace evenkeel
