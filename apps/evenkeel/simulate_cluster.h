// `evenkeel simulate --cluster FILE`: requests over unequal nodes, by each rule of routing that is asked for, or a model that is cut over them (simulate_pipeline.h).
//
// Thread-safety: main thread only.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "output.h"

namespace evenkeel {

struct ClusterFlags {
  std::string file;                // empty: no cluster is simulated
  std::vector<std::string> rules;  // empty: all
  double seconds = 60, warm_up = 2, factor = 1;
  uint64_t seed = 1;
  std::string html;  // file; empty: no page
  Format format = Format::kTable;
};

// Ends the program with a message where the file or a rule is wrong.
void SimulateClusterAndPrint(const ClusterFlags& flags);

}  // namespace evenkeel
