#include "server/describe.h"

#include <unistd.h>

#include <fstream>
#include <nlohmann/json.hpp>
#include <string>

#include "core/format.h"
#include "server/model_version.h"

namespace evenkeel {
namespace {

double Milliseconds(Duration d) { return Seconds(d) * 1e3; }

const char* ClassName(DeviceClass device) {
  if (device == DeviceClass::kAuto) return "auto";
  return device == DeviceClass::kGpu ? "gpu" : "cpu";
}

// The bucket bound that holds the quantile; what lies above the last bound counts as that.
double UpperQuantile(const Histogram& histogram, double q) {
  uint64_t seen = 0;
  for (size_t i = 0; i < histogram.bounds().size(); ++i) {
    seen += histogram.counts()[i];
    if (static_cast<double>(seen) >= q * static_cast<double>(histogram.total()))
      return histogram.bounds()[i];
  }
  return histogram.bounds().back();
}

nlohmann::json SpecsToJson(const std::vector<TensorSpec>& specs) {
  nlohmann::json list = nlohmann::json::array();
  for (const TensorSpec& spec : specs) {
    nlohmann::json one = {
        {"name", spec.name}, {"datatype", NameOf(spec.dtype)}, {"shape", spec.shape.dims()}};
    if (spec.range) one["range"] = {spec.range->lo, spec.range->hi};
    if (!spec.labels.empty()) one["labels"] = spec.labels.size();
    list.push_back(std::move(one));
  }
  return list;
}

nlohmann::json TimesToJson(const BatchTimes& batch_times) {
  nlohmann::json times = nlohmann::json::object();
  for (const auto& [rows, entry] : batch_times.entries())
    times[std::to_string(rows)] = entry.mean_ns / 1e6;
  return times;
}

// T on the processor, or where the model never runs there, on its accelerator.
const BatchTimes& TimesOf(const ModelVersion& version, const ModelStats& stats) {
  return version.device_class() == DeviceClass::kGpu ? stats.device_times : stats.times;
}

void AddTimes(const ModelVersion& version, const ModelStats& stats, nlohmann::json* json) {
  (*json)["batch_time_ms"] = TimesToJson(TimesOf(version, stats));
  if (version.device_class() == DeviceClass::kAuto)
    (*json)["device_batch_time_ms"] = TimesToJson(stats.device_times);
}

std::string DevicesOf(const ModelVersion& version) {
  if (version.device_class() == DeviceClass::kCpu) return "CPU";
  const std::string label = version.device_label();
  return version.device_class() == DeviceClass::kGpu ? label : "CPU, " + label;
}

nlohmann::json RecentToJson(const ModelVersion& version, const ModelStats& stats) {
  const std::string device = version.device_label();
  nlohmann::json recent = nlohmann::json::array();
  for (const BatchRecord& batch : stats.recent) {
    recent.push_back({{"closed_ms_ago", Milliseconds(SteadyClock::Instance().Now() - batch.closed)},
                      {"rows", batch.rows},
                      {"run_rows", batch.run_rows},
                      {"requests", batch.parts},
                      {"reason", NameOf(batch.reason)},
                      {"oldest_wait_ms", Milliseconds(batch.oldest_wait)},
                      {"gather_ms", Milliseconds(batch.gather)},
                      {"compute_ms", Milliseconds(batch.compute)},
                      {"device", batch.device == DeviceClass::kGpu ? device : "CPU"},
                      {"failed", batch.failed}});
  }
  return recent;
}

// T(b) as it was measured in service: what the window is computed from.
nlohmann::json TableToJson(const BatchTimes& times) {
  nlohmann::json table = nlohmann::json::array();
  for (const auto& [rows, entry] : times.entries()) {
    table.push_back({{"rows", rows},
                     {"mean_ms", entry.mean_ns / 1e6},
                     {"mean_us_per_row", entry.mean_ns / 1e3 / rows},
                     {"runs", entry.count}});
  }
  return table;
}

nlohmann::json ParametersToJson(const ModelVersion& version) {
  const BatchingConfig& batching = version.config().batching;
  const auto form = version.InstancesNow().form;
  nlohmann::json parameters = {{"policy", version.policy()},
                               {"class", ClassName(version.config().device)},
                               {"objective_ms", Milliseconds(version.objective())},
                               {"max_batch", version.signature().max_batch},
                               {"instances", version.config().instances},
                               {"threads", form ? form->threads : 0}};
  if (batching.policy == BatchingPolicy::kFixed) {
    parameters["max_delay_ms"] = Milliseconds(batching.max_delay);
    parameters["preferred_sizes"] = batching.preferred_sizes;
  }
  return parameters;
}

nlohmann::json FormToJson(const InstanceForm& form) {
  nlohmann::json json = {{"name", form.Name()},
                         {"cores", form.cores()},
                         {"threads", form.threads},
                         {"precision", form.precision == Precision::kBf16 ? "bf16" : "f32"},
                         {"why", form.why}};
  if (form.shape) json["memory_bytes"] = form.shape->memory_bytes;
  return json;
}

// How many instances there are to be, and why; of which form.
nlohmann::json InstancesToJson(const ModelVersion& version) {
  const ModelVersion::InstancesState now = version.InstancesNow();
  nlohmann::json json = {{"wanted", now.wanted},
                         {"up", now.up},
                         {"why", now.why},
                         {"min", now.min_instances},
                         {"keep_alive_s", Seconds(now.keep_alive)},
                         {"starts", now.starts},
                         {"restarts", now.restarts},
                         {"out_of_memory", now.out_of_memory}};
  if (version.config().instances > 0) json["fixed"] = version.config().instances;
  if (now.start_up > Duration::zero()) json["start_up_ms"] = Milliseconds(now.start_up);
  if (now.memory_bytes > 0) json["memory_bytes_each"] = now.memory_bytes;
  if (now.form) json["form"] = FormToJson(*now.form);
  return json;
}

// Of a share of an accelerator too: "gpu0:8c/1GiB".
std::string ShapeOf(const InstanceSet::Info& instance) {
  if (!instance.device.share) return instance.form->Name();
  const GpuShape& share = *instance.device.share;
  return fmt::format("gpu{}:{}", share.device, FormatDeviceSize({share.cores, share.memory_bytes}));
}

}  // namespace

namespace {

// The nth field of /proc/PID/statm, in bytes; 0: there is no such process.
uint64_t MemoryField(pid_t pid, int field) {
  std::ifstream statm(fmt::format("/proc/{}/statm", pid));
  uint64_t pages = 0;
  for (int i = 0; i <= field; ++i) {
    if (!(statm >> pages)) return 0;
  }
  return pages * static_cast<uint64_t>(sysconf(_SC_PAGESIZE));
}

}  // namespace

uint64_t ResidentBytes(pid_t pid) { return MemoryField(pid, 1); }

uint64_t MappedBytes(pid_t pid) { return MemoryField(pid, 2); }

nlohmann::json DescribeNode(const ServingContext& context) {
  nlohmann::json node = {{"cores", CoresOfBatches(context)}};
  if (context.node != nullptr) node["policy"] = context.node->policy_name();
  return node;
}

nlohmann::json DescribeVersion(const ModelVersion& version) {
  const ModelStats stats = version.Stats();
  uint64_t all = 0;
  for (const uint64_t count : stats.requests) all += count;
  nlohmann::json model = {
      {"name", version.name()},
      {"version", version.version()},
      {"engine", version.config().engine},
      {"engine_info",
       nlohmann::json::parse(version.EngineInfo(), nullptr, /*allow_exceptions=*/false)},
      {"class", ClassName(version.config().device)},
      {"device", DevicesOf(version)},
      {"precision", version.config().precision == Precision::kBf16 ? "bf16" : "f32"},
      {"max_batch", version.signature().max_batch},
      {"policy", version.policy()},
      {"objective_ms", Milliseconds(version.objective())},
      {"queue_rows", stats.waiting_rows},
      {"requests", all},
      {"errors", all - stats.requests[static_cast<size_t>(Code::kOk)]}};
  // Of an open precision, what the instances run in.
  if (const auto form = version.InstancesNow().form; form && version.config().precision_auto)
    model["precision"] = form->precision == Precision::kBf16 ? "bf16" : "f32";
  model["instances"] = nlohmann::json::array();
  for (const auto& instance : version.Instances()) {
    model["instances"].push_back({{"pid", instance.pid},
                                  {"state", instance.state},
                                  {"rss_bytes", instance.pid > 0 ? ResidentBytes(instance.pid) : 0},
                                  {"restarts", instance.restarts},
                                  {"last_end", instance.last_end},
                                  {"shape", ShapeOf(instance)},
                                  {"threads", instance.form->threads},
                                  {"device", instance.device.label}});
  }
  model["scale"] = InstancesToJson(version);
  model["at_rest"] = version.at_rest();
  AddTimes(version, stats, &model);
  if (stats.request_seconds.total() > 0)
    model["p99_ms"] = UpperQuantile(stats.request_seconds, 0.99) * 1e3;
  return model;
}

nlohmann::json DescribeBatching(const ModelVersion& version) {
  const ModelStats stats = version.Stats();
  nlohmann::json closed = nlohmann::json::object();
  for (int reason = 0; reason < kCloseReasonCount; ++reason) {
    closed[std::string(NameOf(static_cast<CloseReason>(reason)))] =
        stats.batches[static_cast<size_t>(reason)];
  }
  nlohmann::json batching = {{"schema", "evenkeel.batching/v1"},
                             {"model", version.name()},
                             {"version", version.version()},
                             {"policy", version.policy()},
                             {"objective_ms", Milliseconds(version.objective())},
                             {"max_batch", version.signature().max_batch},
                             {"queue_rows", stats.waiting_rows},
                             {"parameters", ParametersToJson(version)},
                             {"instances", InstancesToJson(version)},
                             {"table", TableToJson(TimesOf(version, stats))},
                             {"closed", std::move(closed)},
                             {"recent_batches", RecentToJson(version, stats)}};
  AddTimes(version, stats, &batching);
  if (version.device_class() == DeviceClass::kAuto)
    batching["device_table"] = TableToJson(stats.device_times);
  const auto outlook = version.Outlook();
  if (!outlook) return batching;
  const policy::ModelOutlook& window = outlook->window;
  batching["price"] = window.price;
  batching["window"] = {
      {"knee_rows", window.knee},       {"target_rows", window.target},
      {"price", window.price},          {"rate_rows_per_s", window.rate_rps},
      {"guarded", window.guarded},      {"left_age_ms", Milliseconds(outlook->left_age)},
      {"right_rows", window.right_rows}};
  if (window.right != kNever)
    batching["window"]["right_ms"] = Milliseconds(window.right - window.left);
  if (version.device_class() != DeviceClass::kCpu) {
    batching["window"]["device_knee_rows"] = window.device_knee;
    batching["window"]["device_first"] = window.device_first;
  }
  batching["forecast"] = nlohmann::json::array();
  for (const auto& forecast : outlook->forecasts) {
    batching["forecast"].push_back({{"interval_ms", Milliseconds(forecast.interval)},
                                    {"next_rows", forecast.next_rows},
                                    {"last_rows", forecast.last_rows},
                                    {"mean_error_rows", forecast.mean_error},
                                    {"last_value_error_rows", forecast.naive_error},
                                    {"forecaster", forecast.forecaster}});
  }
  return batching;
}

void AddDetails(const ModelVersion& version, nlohmann::json* model) {
  (*model)["inputs"] = SpecsToJson(version.signature().inputs);
  (*model)["outputs"] = SpecsToJson(version.signature().outputs);
  (*model)["settings_from"] = version.config().source;
  (*model)["recent_batches"] = RecentToJson(version, version.Stats());
}

}  // namespace evenkeel
