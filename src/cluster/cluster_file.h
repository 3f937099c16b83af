// A cluster and its work as a JSON file: what `evenkeel plan FILE` plans, and what the simulator plays.
//
//   {"nodes": [{"name": "a", "cores": 4, "gflops": 200, "memory_gb_s": 20, "memory": "8GiB", "free_memory": "6GiB", "load_s": 0,
//               "accelerators": [{"backend": "CUDA", "gflops": 9000, "memory_gb_s": 400, "memory": "8GiB"}], "power_w": 60}],
//    "links": {"bandwidth": "125MB", "round_trip": "300us"},
//    "tasks": [{"name": "chat", "kind": "language replica", "gflop": 0.3, "gbytes": 0.1, "memory": "400MiB", "overhead": "1ms", "count": 3,
//               "on": "processor|accelerator|both", "replicas": 2, "asked": 2, "serving": ["a", "b"]},
//             {"name": "giant", "gflop": 140, "gbytes": 40, "memory": "42GiB", "layers": 80, "first": "1GiB", "last": "1GiB", "boundary": "32KiB"}],
//    "edges": [{"before": "embed", "after": "rank", "bytes": "1MB"}],
//    "measured": [{"task": "chat", "on": "a/CUDA", "seconds": 0.02}],
//    "corrections": [{"task": "chat", "on": "a", "factor": 1.3}]}
// Needed: nodes with name, gflops, memory_gb_s, memory; tasks with name. `bandwidth` is bytes a second. `count` above 1 makes chat-1, chat-2, ...; edges and measurements
//   of "chat" are then those of each. `replicas` makes it a model whose work, a second's of all its calls, at least so many servers share, each with all of its memory ("serving": those that
//   do now, "asked": how many people asked for; it may get more, where one server can't carry it); not with `count` or edges.
//   `layers` lets a model be cut between them where no place holds it whole (policy/stages.h): "first" and "last" are the parts of its memory that only those need, "boundary" what goes from one layer to the next. A correction multiplies what is predicted for a pair; what a server tells beside it ("predicted", "measured", "noise", "samples", "age_s") is for
//   people, as are "live" and "feedback".
// Errors: kInvalidArgument, with the place ("tasks[2].gflop") and what was expected; a graph that is none (task.h); kTooLarge: over 1,000 nodes, 100,000 tasks or 64 MiB.
// Thread-safety: thread-safe.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "cluster/resource_vector.h"
#include "cluster/task.h"
#include "core/status.h"

namespace evenkeel {

struct MeasuredCost {
  int task = 0;
  std::string place;  // "a", or "a/CUDA"
  double seconds = 0;
};

// What is predicted for a pair is multiplied by it.
struct CostFactor {
  int task = 0;
  std::string place;
  double factor = 1;
};

struct ClusterFile {
  std::vector<NodeState> nodes;
  Link link;  // between any two
  TaskGraph graph;
  std::vector<MeasuredCost> measured;
  std::vector<CostFactor> corrections;
};

Result<ClusterFile> ParseClusterFile(std::string_view text);

}  // namespace evenkeel
