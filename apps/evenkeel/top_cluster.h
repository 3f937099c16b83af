// What `evenkeel top --cluster` shows: the nodes of a cluster as the server that is asked sees them, out of one GET /v2/evenkeel/cluster.
//
// Contract: pure. A figure that the server does not tell is left out, never guessed. Nodes in the order of the server.
// Units: as named. Thread-safety: thread-safe.
#pragma once

#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "output.h"

namespace evenkeel {

// {"schema": "evenkeel.top-cluster/v1", "cluster": {...sums and averages}, "nodes": [...], "models": [...], "feedback": {...}, "plan": {...}, "events": [...]}
// from the server's document. Of a server without that part: no nodes.
nlohmann::ordered_json ClusterTop(const nlohmann::ordered_json& document);

// Of what ClusterTop() gave.
std::string ClusterLine(const nlohmann::ordered_json& top);  // the cluster as a whole, in a line
Listing ClusterTable(const nlohmann::ordered_json& top);     // a line a node
// The last events and what is said of plans: below the table.
std::vector<std::string> ClusterNotes(const nlohmann::ordered_json& top, size_t most_events);

}  // namespace evenkeel
