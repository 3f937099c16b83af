#include "simulate_options.h"

#include <algorithm>
#include <charconv>

#include "core/format.h"
#include "core/parse.h"
#include "loadgen/trace_file.h"
#include "sim/arrivals.h"
#include "sim/load_table.h"
#include "simulate_device.h"
#include "simulate_method.h"

namespace evenkeel {
namespace {

constexpr size_t kMaxFileBytes = 1ull << 30;
constexpr Duration kDefaultObjective = std::chrono::milliseconds(50);

Result<std::string> ReadText(const std::string& path) {
  return loadgen::ReadFileMaybeGzip(path, kMaxFileBytes);
}

Result<std::vector<sim::ModelTable>> ReadTables(const std::vector<std::string>& files) {
  std::vector<sim::ModelTable> all;
  for (const std::string& file : files) {
    const auto text = ReadText(file);
    if (!text.ok()) return text.status();
    auto tables = sim::ParseLoadTables(*text, file);
    if (!tables.ok()) return tables.status();
    for (sim::ModelTable& table : *tables) {
      if (std::ranges::any_of(all, [&](const auto& other) { return other.name == table.name; }))
        return InvalidArgument("{}: model '{}' is in another file too", file, table.name);
      all.push_back(std::move(table));
    }
  }
  return all;
}

Status SetInt(const char* flag, const std::vector<std::string>& entries, const std::string& name,
              int most, int* value) {
  const auto text = ValueFor(entries, name);
  if (!text.ok()) return text.status().Annotate(flag);
  if (text->empty()) return Status::Ok();
  const auto number = ParseInt(*text, 1, most);
  if (!number.ok()) return number.status().Annotate(fmt::format("{} {}", flag, name));
  *value = static_cast<int>(*number);
  return Status::Ok();
}

Status SetDuration(const char* flag, const std::vector<std::string>& entries,
                   const std::string& name, Duration* value) {
  const auto text = ValueFor(entries, name);
  if (!text.ok()) return text.status().Annotate(flag);
  if (text->empty()) return Status::Ok();
  const auto duration = ParseDuration(*text);
  if (!duration.ok()) return duration.status().Annotate(fmt::format("{} {}", flag, name));
  *value = *duration;
  return Status::Ok();
}

// Every NAME=VALUE must name a model of the mix.
Status CheckNames(const char* flag, const std::vector<std::string>& entries,
                  const std::vector<sim::SimModel>& models) {
  for (const std::string& entry : entries) {
    const size_t equals = entry.find('=');
    const auto named = [&](const sim::SimModel& m) { return m.name == entry.substr(0, equals); };
    if (equals == std::string::npos || std::ranges::none_of(models, named))
      return InvalidArgument("{}: expected NAME=VALUE with a model of --arrivals, got '{}'", flag,
                             entry);
  }
  return Status::Ok();
}

Status SetService(const sim::ModelTable& table, const std::string& table_name,
                  sim::SimModel* model) {
  if (model->device == DeviceClass::kGpu) return Status::Ok();
  const auto service = table.by_cores.find(model->threads);
  if (service == table.by_cores.end())
    return NotFound("the table of '{}' has no rows for {} cores", table_name, model->threads);
  model->service = service->second;
  model->max_batch = std::min(64, model->service.largest_batch());
  return Status::Ok();
}

Result<sim::SimModel> ParseModel(const std::string& entry, const SimulateFlags& flags,
                                 const std::vector<sim::ModelTable>& tables) {
  const size_t equals = entry.find('=');
  if (equals == std::string::npos || equals == 0)
    return InvalidArgument("expected NAME[@TABLE]=KIND:..., got '{}'", entry);
  sim::SimModel model;
  model.name = entry.substr(0, equals);
  std::string table_name = model.name;
  if (const size_t at = model.name.find('@'); at != std::string::npos) {
    table_name = model.name.substr(at + 1);
    model.name.resize(at);
  }
  const auto table = std::ranges::find(tables, table_name, &sim::ModelTable::name);
  if (table == tables.end()) {
    std::vector<std::string> names;
    for (const sim::ModelTable& t : tables) names.push_back(t.name);
    return NotFound("no load table for '{}', only for {}", table_name, fmt::join(names, ", "));
  }
  EK_RETURN_IF_ERROR(SetInt("--threads", flags.threads, model.name, 4096, &model.threads));
  model.objective = table->objective > Duration::zero() ? table->objective : kDefaultObjective;
  EK_RETURN_IF_ERROR(SetDuration("--objective", flags.objectives, model.name, &model.objective));
  if (model.objective <= Duration::zero())
    return InvalidArgument("--objective {}: expected more than 0", model.name);
  EK_RETURN_IF_ERROR(SetClass(flags, *table, &model));
  EK_RETURN_IF_ERROR(SetService(*table, table_name, &model));
  EK_RETURN_IF_ERROR(SetInt("--instances", flags.instances, model.name, 1024, &model.instances));
  EK_RETURN_IF_ERROR(SetInt("--max-batch", flags.max_batch, model.name, 1 << 16, &model.max_batch));
  if (model.device == DeviceClass::kGpu) model.max_batch = model.device_max_batch;
  EK_RETURN_IF_ERROR(SetInt("--rows", flags.rows, model.name, model.max_batch, &model.rows));
  EK_RETURN_IF_ERROR(SetDuration("--delay", flags.delays, model.name, &model.max_delay));
  if (flags.policy == "method" && model.device == DeviceClass::kCpu)
    model.best_batch =
        BestBatchByMethod(model.service.curve(), model.max_batch, flags.ratio_threshold);
  int preferred = 0;
  EK_RETURN_IF_ERROR(
      SetInt("--preferred", flags.preferred, model.name, model.max_batch, &preferred));
  if (preferred > 0) model.preferred_sizes = {preferred};
  auto arrivals = sim::ParseArrivals(entry.substr(equals + 1), ReadText);
  if (!arrivals.ok()) return arrivals.status();
  model.arrivals = std::move(*arrivals);
  return model;
}

}  // namespace

Result<std::string> ValueFor(const std::vector<std::string>& entries, const std::string& name) {
  std::string value;
  for (const std::string& entry : entries) {
    if (!entry.starts_with(name + "=")) continue;
    if (!value.empty()) return InvalidArgument("'{}' is given twice", name);
    value = entry.substr(name.size() + 1);
    if (value.empty()) return InvalidArgument("'{}': expected NAME=VALUE", entry);
  }
  return value;
}

Result<std::vector<sim::SimModel>> ParseMix(const SimulateFlags& flags) {
  const auto tables = ReadTables(flags.tables);
  if (!tables.ok()) return tables.status();
  std::vector<sim::SimModel> models;
  for (const std::string& entry : flags.arrivals) {
    auto model = ParseModel(entry, flags, *tables);
    if (!model.ok())
      return model.status().Annotate("--arrivals " + entry.substr(0, entry.find('=')));
    if (std::ranges::any_of(models, [&](const auto& other) { return other.name == model->name; }))
      return InvalidArgument(
          "--arrivals: '{}' is there twice; NAME@TABLE gives a second one a name", model->name);
    models.push_back(std::move(*model));
  }
  const std::pair<const char*, const std::vector<std::string>*> named[] = {
      {"--objective", &flags.objectives}, {"--threads", &flags.threads},
      {"--instances", &flags.instances},  {"--rows", &flags.rows},
      {"--max-batch", &flags.max_batch},  {"--delay", &flags.delays},
      {"--preferred", &flags.preferred},  {"--class", &flags.classes},
      {"--gpu", &flags.gpu_shapes},       {"--gpu-instances", &flags.gpu_instances}};
  for (const auto& [flag, entries] : named) EK_RETURN_IF_ERROR(CheckNames(flag, *entries, models));
  EK_RETURN_IF_ERROR(CheckDevice(flags, models));
  return models;
}

}  // namespace evenkeel
