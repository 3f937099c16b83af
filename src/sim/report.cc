#include "sim/report.h"

#include <cmath>
#include <nlohmann/json.hpp>

namespace evenkeel::sim {
namespace {

using Json = nlohmann::ordered_json;

// Five digits: what is printed is read by people too, and no figure here is more exact.
double Rounded(double value) {
  if (value == 0 || !std::isfinite(value)) return 0;
  const double scale = std::pow(10.0, 4 - std::floor(std::log10(std::abs(value))));
  return std::round(value * scale) / scale;
}

Json Quantiles(const LatencyCounts& counts) {
  Json json;
  json["mean"] = Rounded(counts.mean_s() * 1e3);
  for (const auto& [name, q] :
       {std::pair{"p50", 0.5}, {"p90", 0.9}, {"p99", 0.99}, {"p99_9", 0.999}})
    json[name] = Rounded(counts.QuantileSeconds(q) * 1e3);
  return json;
}

Json Batches(const ModelOutcome& model) {
  Json json;
  uint64_t count = 0;
  Json sizes = Json::object();
  for (const auto& [rows, times] : model.batches) {
    count += times;
    sizes[std::to_string(rows)] = times;
  }
  json["count"] = count;
  json["mean_rows"] =
      count == 0 ? 0 : Rounded(static_cast<double>(model.rows_run) / static_cast<double>(count));
  json["by_rows"] = sizes;
  for (int i = 0; i < kCloseReasonCount; ++i)
    json["close_reasons"][std::string(NameOf(static_cast<CloseReason>(i)))] =
        model.reasons[static_cast<size_t>(i)];
  return json;
}

Json Forecasts(const ModelOutcome& model) {
  Json levels = Json::array();
  for (const ForecastError& f : model.forecast) {
    levels.push_back({{"interval_ms", Rounded(Seconds(f.interval) * 1e3)},
                      {"intervals", f.intervals},
                      {"mae_items", Rounded(f.mae)},
                      {"last_value_mae_items", Rounded(f.last_value_mae)},
                      {"followed", f.followed}});
  }
  return levels;
}

Json ModelJson(const ModelOutcome& model, double seconds) {
  Json json;
  json["name"] = model.name;
  json["objective_ms"] = Rounded(Seconds(model.objective) * 1e3);
  json["requests"] = {{"arrived", model.arrived},
                      {"within", model.within},
                      {"late", model.late},
                      {"shed", model.shed},
                      {"expired", model.expired}};
  json["goodput"] = {{"share", Rounded(model.Goodput())},
                     {"rps", Rounded(static_cast<double>(model.within) / seconds)}};
  json["latency_ms"] = Quantiles(model.latency);
  json["wait_ms"] = Quantiles(model.wait);
  json["batches"] = Batches(model);
  json["core_seconds"] = Rounded(model.core_seconds);
  json["core_us_per_row"] =
      model.rows_run == 0 ? 0
                          : Rounded(model.core_seconds * 1e6 / static_cast<double>(model.rows_run));
  if (model.device_rows > 0) {
    const auto rows = static_cast<double>(model.device_rows);
    json["device"] = {{"cores", model.device_share.cores},
                      {"memory_bytes", model.device_share.memory_bytes},
                      {"rows", model.device_rows},
                      {"share_of_rows", Rounded(rows / static_cast<double>(model.rows_run))},
                      {"seconds", Rounded(model.device_seconds)},
                      {"us_per_row", Rounded(model.device_seconds * 1e6 / rows)}};
  }
  json["window"] = {{"knee", model.outlook.knee},
                    {"device_knee", model.outlook.device_knee},
                    {"device_first", model.outlook.device_first},
                    {"target", model.outlook.target},
                    {"price", Rounded(model.outlook.price)},
                    {"rate_rps", Rounded(model.outlook.rate_rps)},
                    {"guarded", model.outlook.guarded}};
  json["forecast"] = Forecasts(model);
  return json;
}

}  // namespace

Json ToJson(const SimReport& report) {
  Json json;
  json["schema"] = "evenkeel.simulation/v1";
  json["simulated"] = true;
  json["policy"] = report.policy;
  json["measured_s"] = Rounded(report.measured_s);
  json["mean_busy_cores"] = Rounded(report.mean_cores);
  json["models"] = Json::array();
  for (const ModelOutcome& model : report.models)
    json["models"].push_back(ModelJson(model, report.measured_s));
  return json;
}

}  // namespace evenkeel::sim
