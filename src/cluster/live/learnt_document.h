// Puts what was learnt from measuring into the document that `evenkeel plan` reads (cluster_document.h).
//
// A task's work is that of its model's row, as learnt (measured_costs.h), so that a node which became slow makes none of its models heavy. "measured" gets every pair that was
// measured and is not forgotten, also on nodes that do not serve the model any more; "corrections" a factor for each pair whose prediction is off.
// Contract: tasks and nodes that are not in the document stay out; what nothing was learnt of stays as it is. Thread-safety: pure.
#pragma once

#include <functional>
#include <nlohmann/json_fwd.hpp>
#include <span>
#include <string_view>

#include "cluster/live/measured_costs.h"

namespace evenkeel {

// `rate_of`: calls of a model a second, of all nodes; 0: not known, then what the nodes tell now counts.
void AddLearnt(const MeasuredCosts& costs, const std::function<double(std::string_view)>& rate_of,
               std::span<const ReplicaTable::NodeView> nodes, double now_s,
               nlohmann::json* document);

}  // namespace evenkeel
