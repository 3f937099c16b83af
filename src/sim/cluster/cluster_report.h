// Outcomes of a simulated cluster as JSON and as a page that loads nothing.
//
// Thread-safety: thread-safe.
#pragma once

#include <nlohmann/json_fwd.hpp>
#include <string>
#include <utility>
#include <vector>

#include "sim/cluster/cluster_simulation.h"

namespace evenkeel::sim {

using ClusterRun = std::pair<RouteRule, ClusterOutcome>;

// {"schema": "evenkeel.cluster_simulation/v1", "runs": [{"rule", "arrived", "answered", "unanswered", "within", "moved", "retried", "latency_ms": {...},
//  "utilisation": [{"node", "share"}]}]}
nlohmann::ordered_json ToJson(const ClusterScenario& scenario, const std::vector<ClusterRun>& runs);
// Needs options.plot_bins.
std::string ClusterPage(const ClusterScenario& scenario, const std::vector<ClusterRun>& runs,
                        double seconds);

}  // namespace evenkeel::sim
