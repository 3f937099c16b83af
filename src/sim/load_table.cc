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

struct Curves {
  std::map<int, policy::BatchCurve> by_cores;
  std::map<GpuKey, policy::BatchCurve> by_gpu;
};

// The curve that the row belongs to; null: it is of nothing that is simulated.
Result<policy::BatchCurve*> CurveOf(const Json& row, Curves* curves) {
  const auto cores = Number(row, "cores", 0.001, kMaxCores);
  if (!cores.ok()) return cores.status();
  if (row.value("precision", Json("f32")) != "f32") return nullptr;
  if (row.contains("gpu_cores")) {
    const auto gpu_cores = Number(row, "gpu_cores", 1, 65'536);
    if (!gpu_cores.ok()) return gpu_cores.status();
    const auto memory = Number(row, "gpu_memory_bytes", 1, 1e15);
    if (!memory.ok()) return memory.status();
    return &curves->by_gpu[{static_cast<int>(*gpu_cores), static_cast<int64_t>(*memory)}];
  }
  if (*cores != std::floor(*cores)) return nullptr;
  return &curves->by_cores[static_cast<int>(*cores)];
}

Status AddRow(const Json& row, Curves* curves) {
  if (!row.is_object()) return InvalidArgument("expected an object, got {}", row.dump());
  if (row.value("outcome", Json("ok")) != "ok") return Status::Ok();
  const auto curve = CurveOf(row, curves);
  if (!curve.ok()) return curve.status();
  if (*curve == nullptr) return Status::Ok();
  const auto batch = Number(row, "batch", 1, kMaxBatch);
  if (!batch.ok()) return batch.status();
  const auto mean = Number(row, "batchtime_us", 0.001, kMaxTimeUs);
  if (!mean.ok()) return mean.status();
  const auto p99 = Number(row, "p99_us", *mean, kMaxTimeUs);
  if (!p99.ok()) return p99.status();
  const auto us = [](double value) { return Duration(std::llround(value * 1e3)); };
  (*curve)->Set(static_cast<int>(*batch), us(*mean), us(*p99));
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
  Curves curves;
  for (size_t i = 0; i < model["rows"].size(); ++i) {
    const Status status = AddRow(model["rows"][i], &curves);
    if (!status.ok()) return at(status.Annotate(fmt::format("row {}", i)));
  }
  if (curves.by_cores.empty() && curves.by_gpu.empty())
    return at(InvalidArgument("no row has the outcome 'ok'"));
  for (const auto& [cores, curve] : curves.by_cores)
    table.by_cores.emplace(cores, ServiceTimes(curve, noise == "lognormal"));
  for (const auto& [gpu, curve] : curves.by_gpu)
    table.by_gpu.emplace(gpu, ServiceTimes(curve, noise == "lognormal"));
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
