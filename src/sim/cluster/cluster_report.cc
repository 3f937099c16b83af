#include "sim/cluster/cluster_report.h"

#include <algorithm>
#include <array>
#include <nlohmann/json.hpp>

#include "core/format.h"
#include "sim/plot.h"

namespace evenkeel::sim {
namespace {

using Json = nlohmann::ordered_json;

constexpr size_t kMostLines = 8;   // nodes that a plot shows: evenly of all, by capacity
constexpr size_t kMostRows = 250;  // of a map, which shows all: a row is the busiest of its nodes

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

// Indices of all nodes, the smallest first.
std::vector<size_t> ByCapacity(const ClusterScenario& scenario) {
  std::vector<size_t> order(scenario.nodes.size());
  for (size_t i = 0; i < order.size(); ++i) order[i] = i;
  std::ranges::stable_sort(order, {}, [&](size_t i) { return scenario.nodes[i].capacity; });
  return order;
}

// Every node's level over time as a map: a row a node (or a few), the smallest on top; the darker, the longer it is until the node is through with what it has.
std::string LevelMap(const ClusterScenario& scenario, const ClusterRun& run, double seconds) {
  struct Shade {
    double from_s;
    const char* colour;
  };
  static constexpr Shade kShades[] = {{0.01, "#e3eef9"}, {0.1, "#b7d4ea"}, {0.3, "#7fb8da"},
                                      {1, "#4292c6"},    {3, "#f3b23e"},   {10, "#e2662c"},
                                      {30, "#a50f15"}};
  constexpr double kWidth = 960, kLeft = 10, kTop = 24;
  const std::vector<std::vector<double>>& levels = run.second.levels;
  const std::vector<size_t> order = ByCapacity(scenario);
  if (levels.empty() || order.empty()) return "";
  const size_t rows = std::min(kMostRows, order.size());
  const double height = rows > 100 ? 2 : rows > 30 ? 4 : 10;
  const double width = kWidth / static_cast<double>(levels.size());
  std::array<std::string, std::size(kShades)> paths;
  for (size_t row = 0; row < rows; ++row) {
    const size_t first = row * order.size() / rows, end = (row + 1) * order.size() / rows;
    int before = -1;
    for (size_t bin = 0; bin < levels.size(); ++bin) {
      double most = 0;
      for (size_t i = first; i < end; ++i) most = std::max(most, levels[bin][order[i]]);
      int shade = -1;
      for (const Shade& one : kShades) shade += most >= one.from_s ? 1 : 0;
      if (shade >= 0 && shade == before) {
        paths[static_cast<size_t>(shade)] += fmt::format("h{:.1f}", width);
      } else if (shade >= 0) {
        paths[static_cast<size_t>(shade)] +=
            fmt::format("M{:.1f} {:.1f}h{:.1f}", kLeft + width * static_cast<double>(bin),
                        kTop + height * (static_cast<double>(row) + 0.5), width);
      }
      before = shade;
    }
  }
  const double bottom = kTop + height * static_cast<double>(rows);
  std::string svg = fmt::format(
      "<svg width='{:.0f}' height='{:.0f}'><text class='t' x='{}' y='14'>{}: all {} nodes over "
      "{:g} s, capacities {:g} (top) to {:g}{}</text>",
      kWidth + 2 * kLeft, bottom + 26, kLeft, NameOf(run.first), order.size(), seconds,
      scenario.nodes[order.front()].capacity, scenario.nodes[order.back()].capacity,
      rows < order.size() ? ", a row is the busiest of its nodes" : "");
  double x = kLeft;
  for (size_t i = 0; i < std::size(kShades); ++i) {
    if (!paths[i].empty())
      svg += fmt::format("<path fill='none' stroke='{}' stroke-width='{}' d='{}'/>",
                         kShades[i].colour, height, paths[i]);
    svg += fmt::format(
        "<rect x='{0}' y='{1:.0f}' width='12' height='12' fill='{2}'/><text x='{3}' "
        "y='{4:.0f}'>from {5:g} s</text>",
        x, bottom + 8, kShades[i].colour, x + 16, bottom + 18, kShades[i].from_s);
    x += 100;
  }
  return svg + "</svg>";
}

// Each of some nodes' level over time, the smallest and the largest node among them.
Plot LevelPlot(const ClusterScenario& scenario, const ClusterRun& run, double seconds) {
  const auto& [rule, outcome] = run;
  Plot plot;
  plot.title = fmt::format("{}: until each node is through with what it has", NameOf(rule));
  plot.x_label = "s";
  plot.y_label = "s";
  const std::vector<size_t> order = ByCapacity(scenario);
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
         {"frozen_s", outcome.frozen_s},
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
  for (const ClusterRun& run : runs) {
    if (scenario.nodes.size() > kMostLines) page += LevelMap(scenario, run, seconds);
    page += Svg(LevelPlot(scenario, run, seconds));
  }
  return page + "</body></html>\n";
}

}  // namespace evenkeel::sim
