#include "cluster/live/learnt_document.h"

#include <algorithm>
#include <cmath>
#include <map>
#include <nlohmann/json.hpp>
#include <string>
#include <utility>
#include <vector>

namespace evenkeel {
namespace {

using Json = nlohmann::json;
using NodeView = ReplicaTable::NodeView;

constexpr double kLeastRows = 1e-6;  // a second: nobody asks for the model
constexpr double kLeastOff = 0.01;   // of a factor's logarithm: the prediction is good enough

// Rows of the model a second, of all nodes together; tokens of language models.
double RowsOf(std::string_view model, double rate, std::span<const NodeView> nodes) {
  double calls = 0, rows = 0;
  for (const NodeView& node : nodes) {
    for (const ModelFigures& one : node.figures.models) {
      if (one.name != model) continue;
      calls += one.rate_rps;
      rows += one.rate_rps * one.call_rows;
    }
  }
  if (calls <= 0) return 0;
  return rate > 0 ? rate * rows / calls : rows;
}

}  // namespace

void AddLearnt(const MeasuredCosts& costs, const std::function<double(std::string_view)>& rate_of,
               std::span<const NodeView> nodes, double now_s, Json* document) {
  std::vector<const NodeView*> there;
  for (const Json& node : (*document)["nodes"]) {
    const auto at =
        std::ranges::find(nodes, node.at("name").get_ref<const std::string&>(), &NodeView::name);
    if (at != nodes.end()) there.push_back(&*at);
  }
  Json measured = Json::array(), corrections = Json::array();
  std::map<std::string, bool> learnt;
  for (Json& task : (*document)["tasks"]) {
    const std::string& name = task.at("name").get_ref<const std::string&>();
    const double work = costs.WorkOf(name);
    // Where a task is one of several replicas, each has its part.
    const double rows = RowsOf(name, rate_of(name), nodes) / task.value("count", 1);
    if (work <= 0 || rows < kLeastRows) continue;
    learnt[name] = true;
    task["gflop"] = rows * work;
    for (const NodeView* node : there) {
      const auto pair = costs.Of(name, *node, now_s);
      if (!pair) continue;
      const double scale = rows / node->figures.cores;
      if (pair->measured_s > 0)
        measured.push_back(
            {{"task", name}, {"on", node->name}, {"seconds", scale * pair->measured_s}});
      if (std::abs(std::log(pair->factor)) < kLeastOff) continue;
      Json one = {{"task", name},
                  {"on", node->name},
                  {"predicted", scale * pair->predicted_s},
                  {"factor", pair->factor}};
      if (pair->measured_s > 0) {
        one["measured"] = scale * pair->measured_s;
        one["noise"] = pair->noise;
        one["samples"] = pair->samples;
        one["age_s"] = std::max(0.0, pair->age_s);
      }
      corrections.push_back(std::move(one));
    }
  }
  for (Json& one : document->value("measured", Json::array())) {
    if (!learnt.contains(one.at("task").get_ref<const std::string&>()))
      measured.push_back(std::move(one));
  }
  if (!measured.empty()) (*document)["measured"] = std::move(measured);
  if (!corrections.empty()) (*document)["corrections"] = std::move(corrections);
}

}  // namespace evenkeel
