#include "sim/load_table.h"

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>

#include "core/format.h"

namespace evenkeel::sim {
namespace {

using Json = nlohmann::json;

constexpr double kMaxTimeUs = 3.6e9;  // an hour
constexpr int kMaxBatch = 1 << 16;
constexpr int kMaxCores = 4096;

Result<double> Number(const Json& row, const char* field, double low, double high) {
  const auto at = row.find(field);
  if (at == row.end() || !at->is_number())
    return InvalidArgument("expected a number '{}', got {}", field,
                           at == row.end() ? "nothing" : at->dump());
  const double value = at->get<double>();
  if (!(value >= low && value <= high))
    return InvalidArgument("'{}': expected {} to {}, got {}", field, low, high, at->dump());
  return value;
}

Status AddRow(const Json& row, std::map<int, policy::BatchCurve>* curves) {
  if (!row.is_object()) return InvalidArgument("expected an object, got {}", row.dump());
  if (row.value("outcome", Json("ok")) != "ok") return Status::Ok();
  const auto cores = Number(row, "cores", 0.001, kMaxCores);
  if (!cores.ok()) return cores.status();
  // What the profiler measured besides: parts of a core, other precisions, GPU shapes.
  if (*cores != std::floor(*cores) || row.value("precision", Json("f32")) != "f32" ||
      row.contains("gpu_cores")) {
    return Status::Ok();
  }
  const auto batch = Number(row, "batch", 1, kMaxBatch);
  if (!batch.ok()) return batch.status();
  const auto mean = Number(row, "batchtime_us", 0.001, kMaxTimeUs);
  if (!mean.ok()) return mean.status();
  const auto p99 = Number(row, "p99_us", *mean, kMaxTimeUs);
  if (!p99.ok()) return p99.status();
  const auto us = [](double value) { return Duration(std::llround(value * 1e3)); };
  (*curves)[static_cast<int>(*cores)].Set(static_cast<int>(*batch), us(*mean), us(*p99));
  return Status::Ok();
}

Result<ModelTable> ParseModel(const Json& model) {
  ModelTable table;
  if (!model.is_object() || !model.contains("name") || !model["name"].is_string())
    return InvalidArgument("expected an object with a text 'name'");
  table.name = model["name"].get<std::string>();
  const auto at = [&](const Status& status) {
    return status.Annotate(fmt::format("model '{}'", table.name));
  };
  if (model.contains("objective_ms")) {
    const auto objective = Number(model, "objective_ms", 0.001, 3.6e6);
    if (!objective.ok()) return at(objective.status());
    table.objective = Duration(std::llround(*objective * 1e6));
  }
  const Json noise = model.value("noise", Json("lognormal"));
  if (noise != "lognormal" && noise != "none")
    return at(InvalidArgument("'noise': expected lognormal or none, got {}", noise.dump()));
  if (!model.contains("rows") || !model["rows"].is_array())
    return at(InvalidArgument("expected a list 'rows'"));
  std::map<int, policy::BatchCurve> curves;
  for (size_t i = 0; i < model["rows"].size(); ++i) {
    const Status status = AddRow(model["rows"][i], &curves);
    if (!status.ok()) return at(status.Annotate(fmt::format("row {}", i)));
  }
  if (curves.empty()) return at(InvalidArgument("no row has the outcome 'ok'"));
  for (const auto& [cores, curve] : curves)
    table.by_cores.emplace(cores, ServiceTimes(curve, noise == "lognormal"));
  return table;
}

}  // namespace

Duration ServiceTimes::Draw(int rows, Random& random) const {
  const auto mean = static_cast<double>(curve_.Mean(rows).count());
  if (!noise_) return Duration(static_cast<int64_t>(mean));
  // X = exp(s z - s^2/2) has mean 1 and the 99th percentile r where 2.326 s - s^2/2 = ln r. Beyond r = e^2.7 there is none.
  constexpr double z99 = 2.3263478740408408;
  const double r = static_cast<double>(curve_.P99(rows).count()) / mean;
  const double inside = z99 * z99 - 2 * std::log(std::max(1.0, r));
  const double s = z99 - std::sqrt(std::max(0.0, inside));
  return Duration(static_cast<int64_t>(mean * std::exp(s * random.Normal() - s * s / 2)));
}

Result<std::vector<ModelTable>> ParseLoadTables(std::string_view json, std::string_view name) {
  const Json document = Json::parse(json, nullptr, /*allow_exceptions=*/false);
  if (document.is_discarded()) return InvalidArgument("{}: not JSON", name);
  if (!document.is_object() || document.value("schema", Json()) != "evenkeel.load-tables/v1")
    return InvalidArgument("{}: expected the schema 'evenkeel.load-tables/v1'", name);
  if (!document.contains("models") || !document["models"].is_array())
    return InvalidArgument("{}: expected a list 'models'", name);
  std::vector<ModelTable> tables;
  for (const Json& model : document["models"]) {
    auto table = ParseModel(model);
    if (!table.ok()) return table.status().Annotate(name);
    const auto same = [&](const ModelTable& other) { return other.name == table->name; };
    if (std::ranges::any_of(tables, same))
      return InvalidArgument("{}: model '{}' is there twice", name, table->name);
    tables.push_back(std::move(*table));
  }
  if (tables.empty()) return InvalidArgument("{}: no models", name);
  return tables;
}

}  // namespace evenkeel::sim
