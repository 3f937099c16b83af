#include "simulate_cluster.h"

#include <fstream>
#include <nlohmann/json.hpp>

#include "api.h"
#include "commands.h"
#include "core/format.h"
#include "figures.h"
#include "loadgen/trace_file.h"
#include "sim/cluster/cluster_report.h"
#include "sim/cluster/pipeline_file.h"
#include "sim/cluster/scenario_file.h"
#include "simulate_pipeline.h"

namespace evenkeel {
namespace {

using Json = nlohmann::ordered_json;

constexpr int kPlotBins = 240;
constexpr size_t kMostFileBytes = size_t{1} << 30;

Listing TableOf(const Json& document) {
  Listing listing;
  listing.columns = {{"RULE"},         {"ANSWERED", true}, {"WITHIN", true},     {"P50", true},
                     {"P99", true},    {"P99.9", true},    {"UNANSWERED", true}, {"MOVED", true},
                     {"RETRIED", true}};
  for (const Json& run : document["runs"]) {
    const auto ms = [&](const char* which) {
      return HumanMilliseconds(run["latency_ms"][which].get<double>());
    };
    listing.rows.push_back({run["rule"], run["answered"].dump(),
                            fmt::format("{:.2f} %", run["within"].get<double>() * 100), ms("p50"),
                            ms("p99"), ms("p999"), run["unanswered"].dump(), run["moved"].dump(),
                            run["retried"].dump()});
    listing.names.push_back(run["rule"]);
  }
  return listing;
}

std::vector<RouteRule> RulesOf(const ClusterFlags& flags) {
  if (flags.rules.empty()) return RouteRules();
  std::vector<RouteRule> rules;
  for (const std::string& name : flags.rules) {
    const auto rule = RouteRuleNamed(name);
    if (!rule.ok()) Fail(kExitUsage, "--rules: " + rule.status().message());
    rules.push_back(*rule);
  }
  return rules;
}

}  // namespace

void SimulateClusterAndPrint(const ClusterFlags& flags) {
  const sim::ReadFile read = [](const std::string& path) {
    return loadgen::ReadFileMaybeGzip(path, kMostFileBytes);
  };
  const auto text = read(flags.file);
  if (!text.ok()) Fail(kExitFailed, text.status().message());
  if (sim::IsPipeline(*text)) return SimulatePipelineAndPrint(flags, *text, read);
  const auto scenario = sim::ParseScenario(*text, read);
  if (!scenario.ok()) Fail(kExitUsage, flags.file + ": " + scenario.status().message());
  std::vector<sim::ClusterRun> runs;
  for (const RouteRule rule : RulesOf(flags)) {
    sim::ClusterOptions options;
    options.rule = rule;
    options.seconds = flags.seconds;
    options.warm_up_s = flags.warm_up;
    options.factor = flags.factor;
    options.seed = flags.seed;
    if (!flags.html.empty()) options.plot_bins = kPlotBins;
    runs.emplace_back(rule, sim::SimulateCluster(*scenario, options));
  }
  if (!flags.html.empty()) {
    std::ofstream page(flags.html);
    page << sim::ClusterPage(*scenario, runs, flags.seconds);
    page.close();
    if (!page) Fail(kExitFailed, "cannot write '" + flags.html + "'");
  }
  const Json document = sim::ToJson(*scenario, runs);
  Print(flags.format, TableOf(document), document);
}

}  // namespace evenkeel
