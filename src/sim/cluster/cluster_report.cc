#include "sim/cluster/cluster_report.h"

#include <algorithm>
#include <nlohmann/json.hpp>

#include "core/format.h"
#include "sim/plot.h"

namespace evenkeel::sim {
namespace {

using Json = nlohmann::ordered_json;

constexpr size_t kMostLines = 8;  // nodes that a plot shows: evenly of all, by capacity

Plot LatencyPlot(const ClusterScenario& scenario, const std::vector<ClusterRun>& runs) {
  Plot plot;
  plot.title = "Latency";
  plot.x_label = "ms (red: objective)";
  plot.y_label = "share of answers";
  plot.log_x = true;
  plot.y_max = 1;
  plot.mark_x = scenario.objective_s * 1e3;
  int colour = 0;
  for (const auto& [rule, outcome] : runs) {
    Curve curve{std::string(NameOf(rule)), {}, false, colour++};
    uint64_t below = 0;
    const auto total = static_cast<double>(outcome.latency.total());
    for (size_t i = 0; i < outcome.latency.counts().size(); ++i) {
      if (outcome.latency.counts()[i] == 0) continue;
      below += outcome.latency.counts()[i];
      curve.points.emplace_back(LatencyCounts::UpperSeconds(i) * 1e3,
                                static_cast<double>(below) / total);
    }
    plot.curves.push_back(std::move(curve));
  }
  return plot;
}

// Each of some nodes' level over time, the smallest and the largest node among them.
Plot LevelPlot(const ClusterScenario& scenario, const ClusterRun& run, double seconds) {
  const auto& [rule, outcome] = run;
  Plot plot;
  plot.title = fmt::format("{}: until each node is through with what it has", NameOf(rule));
  plot.x_label = "s";
  plot.y_label = "s";
  std::vector<size_t> order(scenario.nodes.size());
  for (size_t i = 0; i < order.size(); ++i) order[i] = i;
  std::ranges::stable_sort(order, {}, [&](size_t i) { return scenario.nodes[i].capacity; });
  const size_t lines = std::min(kMostLines, order.size());
  for (size_t line = 0; line < lines; ++line) {
    const size_t node = order[lines < 2 ? 0 : line * (order.size() - 1) / (lines - 1)];
    Curve curve{fmt::format("{} ({:g})", scenario.nodes[node].name, scenario.nodes[node].capacity),
                {},
                false,
                static_cast<int>(line)};
    for (size_t bin = 0; bin < outcome.levels.size(); ++bin)
      curve.points.emplace_back(
          seconds * static_cast<double>(bin) / static_cast<double>(outcome.levels.size()),
          outcome.levels[bin][node]);
    plot.curves.push_back(std::move(curve));
  }
  return plot;
}

}  // namespace

Json ToJson(const ClusterScenario& scenario, const std::vector<ClusterRun>& runs) {
  Json document = {{"schema", "evenkeel.cluster_simulation/v1"}, {"runs", Json::array()}};
  for (const auto& [rule, outcome] : runs) {
    Json utilisation = Json::array();
    for (size_t node = 0; node < outcome.utilisation.size(); ++node)
      utilisation.push_back(
          {{"node", scenario.nodes[node].name}, {"share", outcome.utilisation[node]}});
    const auto ms = [&](double q) { return outcome.latency.QuantileSeconds(q) * 1e3; };
    document["runs"].push_back(
        {{"rule", NameOf(rule)},
         {"arrived", outcome.arrived},
         {"answered", outcome.answered},
         {"unanswered", outcome.unanswered},
         {"within", outcome.arrived == 0 ? 0
                                         : static_cast<double>(outcome.within) /
                                               static_cast<double>(outcome.arrived)},
         {"moved", outcome.moved},
         {"retried", outcome.retried},
         {"latency_ms",
          {{"mean", outcome.latency.mean_s() * 1e3},
           {"p50", ms(0.5)},
           {"p99", ms(0.99)},
           {"p999", ms(0.999)}}},
         {"utilisation", std::move(utilisation)}});
  }
  return document;
}

std::string ClusterPage(const ClusterScenario& scenario, const std::vector<ClusterRun>& runs,
                        double seconds) {
  std::string page =
      "<!doctype html><html lang='en'><head><meta charset='utf-8'><title>Evenkeel cluster "
      "simulation</title><style>body{font:14px/1.45 "
      "system-ui,sans-serif;margin:24px;max-width:1120px;color:#222}svg{margin:6px 14px 6px "
      "0;background:#fff}svg text{font:11px system-ui,sans-serif}svg "
      ".t{font-weight:600;font-size:13px}svg .g{stroke:#e4e4e4;fill:none}svg "
      ".m{stroke:#c00;stroke-dasharray:2 3;fill:none}</style></head><body>";
  page += fmt::format("<h1>{} nodes, {:g} s</h1>", scenario.nodes.size(), seconds);
  page += Svg(LatencyPlot(scenario, runs));
  for (const ClusterRun& run : runs) page += Svg(LevelPlot(scenario, run, seconds));
  return page + "</body></html>\n";
}

}  // namespace evenkeel::sim
