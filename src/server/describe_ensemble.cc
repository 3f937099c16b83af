#include "server/describe_ensemble.h"

#include <nlohmann/json.hpp>
#include <string>

#include "server/ensemble_model.h"

namespace evenkeel {

nlohmann::json DescribeEnsemble(const EnsembleModel& model) {
  const ModelStatistics statistics = model.Statistics();
  const Status ready = model.Ready();
  nlohmann::json steps = nlohmann::json::array();
  for (const EnsembleStep& step : model.config().ensemble) {
    nlohmann::json inputs = nlohmann::json::object(), outputs = nlohmann::json::object();
    for (const auto& one : step.inputs) inputs[one.own] = one.tensor;
    for (const auto& one : step.outputs) outputs[one.own] = one.tensor;
    steps.push_back({{"model", step.model}, {"inputs", inputs}, {"outputs", outputs}});
  }
  return {{"name", model.name()},
          {"version", model.version()},
          {"kind", "ensemble"},
          {"engine", "ensemble"},
          {"state", "READY"},
          {"reason", ready.ok() ? "" : ready.message()},
          {"class", "cpu"},
          {"device", ""},
          {"precision", ""},
          {"max_batch", model.signature().max_batch},
          {"policy", "steps"},
          {"queue_rows", 0},
          {"requests", statistics.success.count + statistics.fail.count},
          {"errors", statistics.fail.count},
          {"at_rest", false},
          {"instances", nlohmann::json::array()},
          {"batch_time_ms", nlohmann::json::object()},
          {"recent_batches", nlohmann::json::array()},
          {"steps", std::move(steps)}};
}

}  // namespace evenkeel
