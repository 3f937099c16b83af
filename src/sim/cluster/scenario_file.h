// A cluster to simulate, as a JSON file.
//
//   {"nodes": [{"name": "a", "capacity": 1, "count": 10}], "arrivals": "poisson:500", "work": "8ms", "work_cv": 1, "objective": "100ms",
//    "forward": "500us", "period": "1s", "age": 1, "detect": "1s", "balance": true, "move": "5ms",
//    "events": [{"at": "60s", "node": "a-3", "what": "fail|return|slow", "factor": 0.1}]}
// Needed: nodes (name, capacity), arrivals (sim/arrivals.h), work. `count` above 1 makes a-1, a-2, ...
// Errors: kInvalidArgument, with the place and what was expected; kTooLarge: over 1,000 nodes. Thread-safety: thread-safe.
#pragma once

#include <nlohmann/json_fwd.hpp>
#include <string>
#include <string_view>
#include <vector>

#include "core/status.h"
#include "sim/arrivals.h"
#include "sim/cluster/cluster_simulation.h"

namespace evenkeel::sim {

Result<ClusterScenario> ParseScenario(std::string_view text, const ReadFile& read);

// The members of "events", by time. `list` may be null: there are none. `nodes`: their names.
Result<std::vector<ClusterEvent>> ParseEvents(const nlohmann::json* list,
                                              const std::vector<std::string>& nodes);

}  // namespace evenkeel::sim
