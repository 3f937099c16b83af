// Which nodes a model is to be served by, of those that there are.
//
// Contract: nodes that are named are all taken, or it is said why one can't. With a number of replicas, those that serve it already come first, then those with the most free
//   memory. With neither: all that have the memory. A node that serves the model already needs none.
// Errors: kNotFound (no such node), kUnavailable (not there, or too little memory, by node), kInvalidArgument (both, or a number below 1).
// Thread-safety: pure.
#pragma once

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "core/status.h"

namespace evenkeel {

struct DeployNode {
  std::string name;
  bool alive = false;             // it answers
  bool draining = false;          // it wants no new work: taken only where it is named
  bool serves = false;            // the model
  int64_t free_memory_bytes = 0;  // 0: not known, and taken as enough
};

struct DeployWish {
  std::vector<std::string> nodes;  // empty: whichever
  int replicas = 0;                // 0: as many as can
};

struct DeployTargets {
  std::vector<std::string> nodes;  // in the order they were given
  std::vector<std::pair<std::string, std::string>>
      left_out;  // of all, where all were meant: node, why
};

// `memory_bytes`: what a replica takes.
Result<DeployTargets> ChooseDeployTargets(const std::string& model, int64_t memory_bytes,
                                          const std::vector<DeployNode>& nodes,
                                          const DeployWish& wish);

}  // namespace evenkeel
