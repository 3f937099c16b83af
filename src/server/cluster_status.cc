#include "server/cluster_status.h"

#include <algorithm>
#include <nlohmann/json.hpp>
#include <utility>

namespace evenkeel {

using Json = nlohmann::json;

Json ClusterStatus(std::span<const ReplicaTable::NodeView> nodes,
                   const std::vector<std::string_view>& states,
                   const std::vector<EventLog::Event>& events) {
  Json node_list = Json::array(), models = Json::array(), event_list = Json::array();
  double work_s = 0, cores = 0;
  for (size_t i = 0; i < nodes.size(); ++i) {
    const ReplicaTable::NodeView& node = nodes[i];
    if (node.gone) continue;
    int waiting = 0;
    for (const ModelFigures& model : node.figures.models) {
      waiting += model.waiting;
      models.push_back({{"node", node.name},
                        {"name", model.name},
                        {"rate_per_s", model.rate_rps},
                        {"row_s", model.row_s},
                        {"waiting", model.waiting},
                        {"memory_bytes", model.memory_bytes}});
    }
    Json one = {{"name", node.name},
                {"state", i < states.size() ? states[i] : ""},
                {"sent", node.sent},
                {"under_way", node.outstanding}};
    if (node.known) {
      one.update({{"cores", node.figures.cores},
                  {"busy_cores", node.figures.busy_cores},
                  {"backlog_s", node.backlog_s},
                  {"level_s", node.backlog_s / std::max(node.figures.cores, 1e-9)},
                  {"waiting", waiting},
                  {"moving", node.figures.moving},
                  {"moved_lately", node.figures.moved_lately},
                  {"figures_age_s", node.age_s}});
      if (!node.suspect) {
        work_s += node.backlog_s;
        cores += node.figures.cores;
      }
    }
    node_list.push_back(std::move(one));
  }
  const size_t first = events.size() - std::min(events.size(), kMostShownEvents);
  for (size_t i = first; i < events.size(); ++i)
    event_list.push_back(
        {{"unix_ms", events[i].unix_ms}, {"what", events[i].what}, {"why", events[i].why}});
  return {{"nodes", std::move(node_list)},
          {"models", std::move(models)},
          {"average_level_s", cores > 0 ? work_s / cores : 0},
          {"events", std::move(event_list)}};
}

}  // namespace evenkeel
