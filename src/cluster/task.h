// A piece of work that can be placed: what it demands, and which others it needs (B2, B4).
//
// Units: as named. Thread-safety: values.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "core/status.h"

namespace evenkeel {

enum class TaskKind : uint8_t { kReplica, kLanguageReplica, kSequence, kRequest, kLayers, kStep };
std::string_view NameOf(TaskKind kind);

struct Task {
  std::string name;
  TaskKind kind = TaskKind::kReplica;
  double gflop = 0;          // to be computed
  double gbytes = 0;         // to be read from memory meanwhile: weights, cache
  int64_t memory_bytes = 0;  // that must stay there
  double overhead_s = 0;     // beside both: calls, copies
  double power_w = 0;        // while it runs
  bool may_use_processor = true, may_use_accelerator = false;
  // Of a model: on how many servers at least, which share the work; 0: the task is one piece, in one place.
  int replicas = 0;
  int asked = 0;                          // as many people asked for; 0: nobody did
  std::vector<std::string> serving = {};  // places that have it now
  // Of a model that may be cut between its layers where no place holds it whole: how many there are; 0: it is not cut.
  int layers = 0;
  int64_t first_bytes = 0, last_bytes = 0;  // of its memory, what only the first and the last need
  int64_t boundary_bytes = 0;               // from one layer to the next, a step
};

// `after` needs what `before` gives.
struct TaskDependency {
  std::string before, after;
  int64_t bytes = 0;
};

struct TaskGraph {
  std::vector<Task> tasks;
  std::vector<TaskDependency> dependencies;
};

// kInvalidArgument: no task, a name that is empty or given twice, a demand that is negative or no number, a dependency of or on something that is
// not there, on itself, or in a circle (the names in its order).
Status CheckGraph(const TaskGraph& graph);

}  // namespace evenkeel
