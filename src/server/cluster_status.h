// How the cluster stands, for people: what `evenkeel top --cluster` shows.
//
// Thread-safety: pure.
#pragma once

#include <nlohmann/json_fwd.hpp>
#include <span>
#include <string_view>
#include <vector>

#include "cluster/live/replica_table.h"
#include "server/event_log.h"

namespace evenkeel {

// {"nodes": [{"name", "state", "cores", "busy_cores", "backlog_s", "level_s", "waiting", "moving", "moved_lately", "sent", "under_way", "figures_age_s"}],
//  "models": [{"node", "name", "rate_per_s", "row_s", "waiting", "memory_bytes"}], "average_level_s", "events": [{"unix_ms", "what", "why"}]}.
// A level is work over cores: seconds until a node is through with what it has; the average is that of all work over all cores of nodes that take part.
// `states`: by node. At most kMostShownEvents events, newest last.
inline constexpr size_t kMostShownEvents = 20;
nlohmann::json ClusterStatus(std::span<const ReplicaTable::NodeView> nodes,
                             const std::vector<std::string_view>& states,
                             const std::vector<EventLog::Event>& events);

}  // namespace evenkeel
