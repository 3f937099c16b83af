#include "sim/cluster/scenario_file.h"

#include <algorithm>
#include <iterator>
#include <nlohmann/json.hpp>
#include <string>
#include <utility>
#include <vector>

#include "core/format.h"
#include "core/json_fields.h"
#include "core/parse.h"
#include "core/strict_json.h"

namespace evenkeel::sim {
namespace {

using Json = nlohmann::json;

constexpr int64_t kMostNodes = 1000;
// As a pipeline's file, which comes here where it is no JSON object (pipeline_file.h): what is said of it is to be its mistake.
constexpr int kDeepest = 5;
constexpr int kOldest = 100;

Status AddNodes(const Json& json, const std::string& place, ClusterScenario* scenario) {
  JsonFields fields(json, place, {"name", "capacity", "count"});
  const std::string name = fields.Text("name", "", true);
  const double capacity = fields.Number("capacity", 1, true, 1e-6);
  const int64_t count = fields.Count("count", 1, 1, kMostNodes);
  EK_RETURN_IF_ERROR(fields.status());
  for (int64_t i = 1; i <= count; ++i) {
    const std::string one = count > 1 ? fmt::format("{}-{}", name, i) : name;
    if (std::ranges::find(scenario->nodes, one, &ClusterNode::name) != scenario->nodes.end())
      return InvalidArgument("{}: node '{}' is there twice", place, one);
    scenario->nodes.push_back({one, capacity});
  }
  if (std::ssize(scenario->nodes) > kMostNodes)
    return TooLarge("{} nodes; at most {} are simulated", scenario->nodes.size(), kMostNodes);
  return Status::Ok();
}

Status AddEvent(const Json& json, const std::string& place, const std::vector<std::string>& nodes,
                std::vector<ClusterEvent>* events) {
  JsonFields fields(json, place, {"at", "node", "what", "factor"});
  ClusterEvent event;
  event.at_s = fields.Seconds("at", 0);
  const std::string node = fields.Text("node", "", true);
  const std::string what = fields.Text("what", "", true);
  event.factor = fields.Number("factor", 1, false, 1e-6);
  EK_RETURN_IF_ERROR(fields.status());
  const auto at = std::ranges::find(nodes, node);
  if (at == nodes.end()) return InvalidArgument("{}.node: there is no node '{}'", place, node);
  event.node = static_cast<int>(at - nodes.begin());
  if (what == "fail") {
    event.kind = ClusterEvent::Kind::kFail;
  } else if (what == "return") {
    event.kind = ClusterEvent::Kind::kReturn;
  } else if (what == "slow") {
    event.kind = ClusterEvent::Kind::kSlow;
  } else {
    return InvalidArgument("{}.what: expected fail, return or slow, got '{}'", place, what);
  }
  events->push_back(event);
  return Status::Ok();
}

template <typename Add>
Status ForEach(const Json* list, const char* name, const Add& add) {
  for (size_t i = 0; list != nullptr && i < list->size(); ++i)
    EK_RETURN_IF_ERROR(add((*list)[i], fmt::format("{}[{}]", name, i)));
  return Status::Ok();
}

// Written before there were three: true is "auto", false "off".
Result<BalanceRule> BalanceOf(const Json* value) {
  if (value == nullptr) return BalanceRule::kAuto;
  if (value->is_boolean()) return value->get<bool>() ? BalanceRule::kAuto : BalanceRule::kOff;
  if (!value->is_string())
    return InvalidArgument("expected true, false, auto, method or off, got {}",
                           Excerpt(value->dump()));
  return BalanceRuleNamed(value->get_ref<const std::string&>());
}

}  // namespace

Result<std::vector<ClusterEvent>> ParseEvents(const Json* list,
                                              const std::vector<std::string>& nodes) {
  std::vector<ClusterEvent> events;
  EK_RETURN_IF_ERROR(ForEach(list, "events", [&](const Json& one, const std::string& place) {
    return AddEvent(one, place, nodes, &events);
  }));
  std::ranges::stable_sort(events, {}, &ClusterEvent::at_s);
  return events;
}

Result<ClusterScenario> ParseScenario(std::string_view text, const ReadFile& read) {
  const auto json = ParseStrictObject(text, kDeepest, "the scenario");
  if (!json.ok()) return json.status();
  JsonFields fields(*json, "the scenario",
                    {"nodes", "arrivals", "work", "work_cv", "objective", "forward", "period",
                     "age", "detect", "balance", "move", "events"});
  ClusterScenario scenario;
  const Json* const nodes = fields.List("nodes", true);
  const std::string arrivals = fields.Text("arrivals", "", true);
  fields.Find("work", true);
  scenario.work_s = fields.Seconds("work", scenario.work_s);
  scenario.work_cv = fields.Number("work_cv", 0);
  scenario.objective_s = fields.Seconds("objective", scenario.objective_s);
  scenario.forward_s = fields.Seconds("forward", scenario.forward_s);
  scenario.period_s = fields.Seconds("period", scenario.period_s);
  scenario.age = static_cast<int>(fields.Count("age", scenario.age, 0, kOldest));
  scenario.detect_s = fields.Seconds("detect", scenario.detect_s);
  const Json* const balance = fields.Find("balance");
  scenario.move_s = fields.Seconds("move", scenario.move_s);
  const Json* const events = fields.List("events");
  EK_RETURN_IF_ERROR(fields.status());
  const auto rule = BalanceOf(balance);
  if (!rule.ok()) return rule.status().Annotate("the scenario.balance");
  scenario.balance = *rule;
  for (const auto& [name, value] :
       {std::pair{"work", scenario.work_s}, std::pair{"period", scenario.period_s},
        std::pair{"detect", scenario.detect_s}}) {
    if (value <= 0) return InvalidArgument("the scenario.{}: expected more than 0", name);
  }
  EK_RETURN_IF_ERROR(ForEach(nodes, "nodes", [&](const Json& one, const std::string& place) {
    return AddNodes(one, place, &scenario);
  }));
  if (scenario.nodes.empty()) return InvalidArgument("nodes: expected at least one");
  std::vector<std::string> names;
  for (const ClusterNode& node : scenario.nodes) names.push_back(node.name);
  auto parsed = ParseEvents(events, names);
  if (!parsed.ok()) return parsed.status();
  scenario.events = std::move(*parsed);
  auto process = ParseArrivals(arrivals, read);
  if (!process.ok()) return process.status().Annotate("arrivals");
  scenario.arrivals = std::move(*process);
  return scenario;
}

}  // namespace evenkeel::sim
