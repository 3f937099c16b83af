#include "sim/cluster/pipeline_report.h"

#include <nlohmann/json.hpp>
#include <string>
#include <utility>

#include "core/format.h"

namespace evenkeel::sim {
namespace {

using Json = nlohmann::ordered_json;

Json Times(const LatencyCounts& counts) {
  return {{"mean", counts.mean_s() * 1e3},
          {"p50", counts.QuantileSeconds(0.5) * 1e3},
          {"p99", counts.QuantileSeconds(0.99) * 1e3}};
}

Json Describe(const CutOutcome& cut, const std::string& model) {
  Json stages = Json::array();
  for (const StageOutcome& stage : cut.stages) {
    const int last = stage.first + stage.layers - 1;
    stages.push_back({{"name", fmt::format("{} layers {}-{}", model, stage.first, last)},
                      {"node", stage.place},
                      {"first", stage.first},
                      {"last", last},
                      {"memory_bytes", stage.bytes},
                      {"seconds", stage.seconds},
                      {"idle", stage.idle}});
  }
  return {{"from_s", cut.from_s},
          {"until_s", cut.until_s},
          {"period_s", cut.period_s},
          {"latency_s", cut.latency_s},
          {"stages", std::move(stages)}};
}

}  // namespace

Json ToJson(const PipelineScenario& scenario, const PipelineOptions& options,
            const PipelineOutcome& outcome) {
  const double counted_s = options.seconds - options.warm_up_s;
  Json cuts = Json::array();
  for (const CutOutcome& cut : outcome.cuts) cuts.push_back(Describe(cut, scenario.model.name));
  return {{"schema", "evenkeel.pipeline_simulation/v1"},
          {"model", scenario.model.name},
          {"layers", scenario.model.layers},
          {"seconds", counted_s},
          {"tokens_per_s", static_cast<double>(outcome.answer_tokens) / counted_s},
          {"sequences",
           {{"arrived", outcome.arrived},
            {"answered", outcome.answered},
            {"unanswered", outcome.unanswered}}},
          {"answer_tokens", outcome.answer_tokens},
          {"again_tokens", outcome.again_tokens},
          {"down_s", outcome.down_s},
          {"trouble", outcome.trouble},
          {"first_token_ms", Times(outcome.first_token)},
          {"inter_token_ms", Times(outcome.inter_token)},
          {"cuts", std::move(cuts)}};
}

}  // namespace evenkeel::sim
