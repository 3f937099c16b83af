#include "server/metrics.h"

#include <sys/resource.h>

#include <functional>
#include <limits>
#include <map>
#include <optional>
#include <string>
#include <utility>

#include "containers/node_memory.h"
#include "server/metric_families.h"

namespace evenkeel {
namespace {

using prometheus::MetricFamily;
using prometheus::MetricType;
using Families = MetricFamilies;
using Labels = MetricLabels;

Labels LabelsOf(const ModelMetrics& model) {
  return {{"model", model.name}, {"version", model.version}};
}

Labels With(Labels labels, std::string name, std::string_view value) {
  labels.push_back({std::move(name), std::string(value)});
  return labels;
}

struct HistogramRow {
  const char* name;
  const char* help;
  Histogram ModelStats::*member;
};
constexpr HistogramRow kHistograms[] = {
    {"evenkeel_request_seconds", "Time from arrival to answer", &ModelStats::request_seconds},
    {"evenkeel_queue_seconds", "Time from arrival to being taken into a batch",
     &ModelStats::queue_seconds},
    {"evenkeel_batch_wait_seconds", "Time from there to the start of compute",
     &ModelStats::batch_wait_seconds},
    {"evenkeel_compute_seconds", "Compute time of a batch", &ModelStats::compute_seconds},
    {"evenkeel_batch_rows", "Rows of requests in a batch", &ModelStats::batch_rows},
};

struct ValueRow {
  const char* name;
  const char* help;
  MetricType type;
  double (*value)(const ModelStats&);
};

double Microseconds(const CountAndTime& value) {
  return static_cast<double>(value.time.count()) / 1e3;
}

uint64_t Failed(const ModelStats& s) {
  uint64_t all = 0;
  for (const uint64_t count : s.requests) all += count;
  return all - s.requests[static_cast<size_t>(Code::kOk)];
}

constexpr ValueRow kValues[] = {
    {"evenkeel_items_total", "Rows answered", MetricType::Counter,
     [](const ModelStats& s) { return static_cast<double>(s.rows); }},
    {"evenkeel_sheds_total", "Requests refused because they would have waited too long",
     MetricType::Counter, [](const ModelStats& s) { return static_cast<double>(s.sheds); }},
    {"evenkeel_retries_total", "Batches run again after a failure or a worker's end",
     MetricType::Counter, [](const ModelStats& s) { return static_cast<double>(s.reruns); }},
    {"evenkeel_queue_rows", "Rows waiting", MetricType::Gauge,
     [](const ModelStats& s) { return static_cast<double>(s.waiting_rows); }},
    {"evenkeel_queue_bytes", "Bytes waiting", MetricType::Gauge,
     [](const ModelStats& s) { return static_cast<double>(s.waiting_bytes); }},
    {"evenkeel_running_batches", "Batches in flight", MetricType::Gauge,
     [](const ModelStats& s) { return static_cast<double>(s.running_batches); }},
    {"nv_inference_request_success", "Successful requests", MetricType::Counter,
     [](const ModelStats& s) { return static_cast<double>(s.success.count); }},
    {"nv_inference_request_failure", "Failed requests", MetricType::Counter,
     [](const ModelStats& s) { return static_cast<double>(Failed(s)); }},
    {"nv_inference_count", "Rows answered", MetricType::Counter,
     [](const ModelStats& s) { return static_cast<double>(s.rows); }},
    {"nv_inference_exec_count", "Batches run", MetricType::Counter,
     [](const ModelStats& s) { return static_cast<double>(s.executions); }},
    {"nv_inference_request_duration_us", "Time in successful requests", MetricType::Counter,
     [](const ModelStats& s) { return Microseconds(s.success); }},
    {"nv_inference_queue_duration_us", "Time in the queue", MetricType::Counter,
     [](const ModelStats& s) { return Microseconds(s.queue); }},
    {"nv_inference_compute_input_duration_us", "Time gathering batches", MetricType::Counter,
     [](const ModelStats& s) { return Microseconds(s.gather); }},
    {"nv_inference_compute_infer_duration_us", "Time in the engine", MetricType::Counter,
     [](const ModelStats& s) { return Microseconds(s.compute); }},
    {"nv_inference_compute_output_duration_us", "Time writing answers", MetricType::Counter,
     [](const ModelStats& s) { return Microseconds(s.scatter); }},
    {"nv_inference_pending_request_count", "Rows waiting", MetricType::Gauge,
     [](const ModelStats& s) { return static_cast<double>(s.waiting_rows); }},
};

void AddOutcomes(const std::vector<ModelMetrics>& models, Families* families) {
  auto& requests =
      families->Add("evenkeel_requests_total", "Requests by outcome", MetricType::Counter);
  for (const auto& model : models) {
    for (int code = 0; code < kCodeCount; ++code) {
      Families::Value(requests, With(LabelsOf(model), "code", InfoOf(static_cast<Code>(code)).name),
                      static_cast<double>(model.stats.requests[static_cast<size_t>(code)]));
    }
  }
  auto& batches =
      families->Add("evenkeel_batches_total", "Batches by close reason", MetricType::Counter);
  for (const auto& model : models) {
    for (int reason = 0; reason < kCloseReasonCount; ++reason) {
      Families::Value(batches,
                      With(LabelsOf(model), "reason", NameOf(static_cast<CloseReason>(reason))),
                      static_cast<double>(model.stats.batches[static_cast<size_t>(reason)]));
    }
  }
}

struct ScaleRow {
  const char* name;
  const char* help;
  MetricType type;
  double (*value)(const ModelVersion::InstancesState&);
};
constexpr ScaleRow kScale[] = {
    {"evenkeel_instances_wanted", "Instances that there are to be", MetricType::Gauge,
     [](const auto& s) { return static_cast<double>(s.wanted); }},
    {"evenkeel_instance_start_up_seconds", "From a worker's start to its first batch, mean of late",
     MetricType::Gauge, [](const auto& s) { return Seconds(s.start_up); }},
    {"evenkeel_instance_starts_total", "Workers that were started", MetricType::Counter,
     [](const auto& s) { return static_cast<double>(s.starts); }},
    {"evenkeel_worker_restarts_total", "Workers that ended unasked", MetricType::Counter,
     [](const auto& s) { return static_cast<double>(s.restarts); }},
    {"evenkeel_worker_out_of_memory_total", "Of them, those that the kernel ended for their memory",
     MetricType::Counter, [](const auto& s) { return static_cast<double>(s.out_of_memory); }},
};
// Calls `add` with each device that the model's instances may be on, and its index in ModelStats::by_device.
template <typename Add>
void ByDevice(const ModelMetrics& model, Add add) {
  add("CPU", 0);
  if (model.device_class != DeviceClass::kCpu) add(model.device_label, 1);
}

void AddInstances(const std::vector<ModelMetrics>& models, Families* families) {
  auto& instances = families->Add(
      "evenkeel_instances", "Instances that are ready, by shape and device", MetricType::Gauge);
  for (const auto& model : models) {
    // By shape and device.
    std::map<std::pair<std::string, std::string>, double> ready;
    // A model at rest has a row too.
    const auto& form = model.scale.form;
    if (form)
      ready[{form->Name(), form->device == DeviceClass::kGpu ? model.device_label : "CPU"}] = 0;
    for (const auto& instance : model.instances)
      ready[{instance.form->Name(), instance.device.label}] += instance.state == "ready" ? 1 : 0;
    for (const auto& [where, count] : ready) {
      const Labels labels = With(LabelsOf(model), "shape", where.first);
      Families::Value(instances, With(labels, "device", where.second), count);
    }
  }
  auto& rows = families->Add("evenkeel_device_rows_total", "Rows answered, by what they ran on",
                             MetricType::Counter);
  auto& batches = families->Add("evenkeel_device_batches_total",
                                "Batches answered, by what they ran on", MetricType::Counter);
  auto& compute = families->Add("evenkeel_device_compute_seconds_total",
                                "Engine time of batches, by what they ran on", MetricType::Counter);
  for (const auto& model : models) {
    ByDevice(model, [&](const std::string& device, int index) {
      const auto& served = model.stats.by_device[static_cast<size_t>(index)];
      const Labels labels = With(LabelsOf(model), "device", device);
      Families::Value(rows, labels, static_cast<double>(served.rows));
      Families::Value(batches, labels, static_cast<double>(served.batches));
      Families::Value(compute, labels, Seconds(served.compute));
    });
  }
  auto& memory = families->Add("evenkeel_instance_memory_bytes",
                               "Memory that an instance's worker holds", MetricType::Gauge);
  for (const auto& model : models) {
    for (const auto& instance : model.instances) {
      if (instance.pid <= 0) continue;
      Families::Value(memory, With(LabelsOf(model), "instance", std::to_string(instance.id)),
                      static_cast<double>(HeldMemory(instance.pid)));
    }
  }
  for (const ScaleRow& row : kScale) {
    auto& family = families->Add(row.name, row.help, row.type);
    for (const auto& model : models)
      Families::Value(family, LabelsOf(model), row.value(model.scale));
  }
}

struct UsageRow {
  const char* name;
  const char* help;
  std::optional<double> (*value)(const WorkerUsage&);
};
std::optional<double> Count(const std::optional<uint64_t>& count) {
  return count ? std::optional(static_cast<double>(*count)) : std::nullopt;
}
constexpr UsageRow kUsage[] = {
    {"evenkeel_instance_cpu_seconds_total", "CPU time of the instance's worker",
     [](const WorkerUsage& u) { return u.cpu_s; }},
    {"evenkeel_instance_quota_periods_total", "Periods of its quota in which it ran",
     [](const WorkerUsage& u) { return Count(u.periods); }},
    {"evenkeel_instance_throttled_periods_total", "Of them, those in which it was held back",
     [](const WorkerUsage& u) { return Count(u.throttled_periods); }},
    {"evenkeel_instance_throttled_seconds_total", "Time that its threads were held back",
     [](const WorkerUsage& u) { return u.throttled_s; }},
};

// Where the rung and the kernel count. Of the worker that runs now: a restarted one begins at 0.
void AddUsage(const std::vector<ModelMetrics>& models, Families* families) {
  std::vector<std::pair<Labels, WorkerUsage>> used;
  for (const auto& model : models) {
    for (const auto& instance : model.instances) {
      if (const auto process = instance.process.lock()) {
        used.emplace_back(With(LabelsOf(model), "instance", std::to_string(instance.id)),
                          process->Usage());
      }
    }
  }
  for (const UsageRow& row : kUsage) {
    auto& family = families->Add(row.name, row.help, MetricType::Counter);
    for (const auto& [labels, usage] : used) {
      if (const auto value = row.value(usage)) Families::Value(family, labels, *value);
    }
  }
}

// Accelerators and what instances hold of them.
void AddDevices(const std::vector<Accelerators::Use>& devices, Families* families) {
  struct Row {
    const char* name;
    const char* help;
    double (*value)(const Accelerators::Use&);
  };
  constexpr Row kRows[] = {
      {"evenkeel_device_cores", "Cores of an accelerator",
       [](const auto& use) { return static_cast<double>(use.whole.cores); }},
      {"evenkeel_device_cores_taken", "Cores of it that instances have",
       [](const auto& use) { return static_cast<double>(use.taken.cores); }},
      {"evenkeel_device_memory_bytes", "Memory of an accelerator",
       [](const auto& use) { return static_cast<double>(use.whole.memory_bytes); }},
      {"evenkeel_device_memory_taken_bytes", "Memory of it that instances have",
       [](const auto& use) { return static_cast<double>(use.taken.memory_bytes); }},
  };
  if (devices.empty()) return;
  for (const Row& row : kRows) {
    auto& family = families->Add(row.name, row.help, MetricType::Gauge);
    for (const auto& use : devices)
      Families::Value(family, {{"device", use.label}}, row.value(use));
  }
}

const NodeScheduler::Forecast& SteeringForecast(const NodeScheduler::Outlook& outlook) {
  return outlook.forecasts[outlook.steering];
}

struct WindowRow {
  const char* name;
  const char* help;
  std::optional<double> (*value)(const NodeScheduler::Outlook&);
};
using Shown = std::optional<double>;
constexpr WindowRow kWindows[] = {
    {"evenkeel_window_knee_rows", "Rows of a batch beyond which nothing is gained",
     [](const auto& o) { return Shown(o.window.knee); }},
    {"evenkeel_window_target_rows", "Rows at which a batch is closed as worth running",
     [](const auto& o) { return Shown(o.window.target); }},
    {"evenkeel_window_price", "Price of core time, in objectives a core-second",
     [](const auto& o) { return Shown(o.window.price); }},
    {"evenkeel_window_left_age_seconds",
     "Age of the window's left bound, the oldest row that waits",
     [](const auto& o) { return Shown(Seconds(o.left_age)); }},
    {"evenkeel_window_right_rows", "Rows at which the window closes: its right bound",
     [](const auto& o) { return Shown(static_cast<double>(o.window.right_rows)); }},
    {"evenkeel_window_right_seconds",
     "Time from the left bound to that at which the window closes at the latest",
     [](const auto& o) {
       return o.window.right == kNever ? Shown() : Shown(Seconds(o.window.right - o.window.left));
     }},
    {"evenkeel_forecast_rows_per_second", "Rows expected in the open interval, as a rate",
     [](const auto& o) {
       const auto& f = SteeringForecast(o);
       return Shown(f.next_rows / Seconds(f.interval));
     }},
    {"evenkeel_actual_rows_per_second", "Rows that came in the last interval, as a rate",
     [](const auto& o) {
       const auto& f = SteeringForecast(o);
       return Shown(f.last_rows / Seconds(f.interval));
     }},
};

void AddWindows(const std::vector<ModelMetrics>& models, Families* families) {
  for (const WindowRow& row : kWindows) {
    auto& family = families->Add(row.name, row.help, MetricType::Gauge);
    for (const auto& model : models) {
      const auto value = model.outlook ? row.value(*model.outlook) : Shown();
      if (value) Families::Value(family, LabelsOf(model), *value);
    }
  }
  auto& errors =
      families->Add("evenkeel_forecast_error_rows_per_second",
                    "Absolute error of that forecast, an interval each", MetricType::Histogram);
  for (const auto& model : models) {
    if (model.outlook) Families::Value(errors, LabelsOf(model), model.outlook->forecast_errors);
  }
}

// What there is of the node's cores and memory, and what is asked for.
void AddNode(const NodeMetrics& node, Families* families) {
  struct Row {
    const char* name;
    const char* help;
    std::optional<double> (*value)(const NodeMetrics&);
  };
  constexpr Row kRows[] = {
      {"evenkeel_node_cores", "Cores that the batches of all models share",
       [](const auto& n) { return Shown(n.cores); }},
      {"evenkeel_node_busy_cores", "Cores that batches take now",
       [](const auto& n) { return Shown(n.load.busy_cores); }},
      {"evenkeel_node_forecast_cores",
       "Cores that the forecast rates of all models keep busy; more than there are is overload",
       [](const auto& n) { return Shown(n.load.forecast_cores); }},
      {"evenkeel_loop_lag_seconds",
       "How late event loops got to what was ready: nine of ten looks of late",
       [](const auto& n) { return Shown(Seconds(n.loop_lag)); }},
      {"evenkeel_node_memory_bytes", "Memory of this machine, or of the daemon's control group",
       [](const auto& n) {
         return n.memory.total_bytes > 0 ? Shown(static_cast<double>(n.memory.total_bytes))
                                         : Shown();
       }},
      {"evenkeel_node_memory_free_bytes", "Of it, what could be used without swapping",
       [](const auto& n) {
         return n.memory.free_bytes ? Shown(static_cast<double>(*n.memory.free_bytes)) : Shown();
       }},
  };
  for (const Row& row : kRows) {
    auto& family = families->Add(row.name, row.help, MetricType::Gauge);
    if (const auto value = row.value(node)) Families::Value(family, {}, *value);
  }
}

void AddProfiles(const std::vector<ModelMetrics>& models, double core_s, Families* families) {
  auto& cells = families->Add("evenkeel_profile_cells", "Cells of the load table that were run",
                              MetricType::Gauge);
  for (const auto& model : models)
    Families::Value(cells, LabelsOf(model), static_cast<double>(model.profile.cells_run));
  auto& expected = families->Add("evenkeel_profile_cells_expected",
                                 "Cells that will have been run in the end", MetricType::Gauge);
  for (const auto& model : models)
    Families::Value(expected, LabelsOf(model), static_cast<double>(model.profile.cells_expected));
  auto& state = families->Add("evenkeel_profile_state", "1 for the state that measuring is in",
                              MetricType::Gauge);
  using Phase = SelfProfile::Phase;
  for (const auto& model : models) {
    for (const Phase phase :
         {Phase::kOff, Phase::kWaiting, Phase::kSweeping, Phase::kComplete, Phase::kFailed}) {
      Families::Value(state, With(LabelsOf(model), "state", SelfProfile::NameOf(phase)),
                      model.profile.phase == phase ? 1 : 0);
    }
  }
  auto& drift =
      families->Add("evenkeel_profile_drift_ratio",
                    "Live time of batches over that of the load table", MetricType::Gauge);
  for (const auto& model : models)
    Families::Value(drift, LabelsOf(model), model.profile.chosen.drift_ratio);
  auto& cpu = families->Add("evenkeel_profile_core_seconds_total",
                            "Core time that measuring has taken", MetricType::Counter);
  Families::Value(cpu, {}, core_s);
}

void AddProcess(Families* families) {
  rusage usage{};
  getrusage(RUSAGE_SELF, &usage);
  const auto seconds = [](const timeval& t) {
    return static_cast<double>(t.tv_sec) + static_cast<double>(t.tv_usec) * 1e-6;
  };
  auto& cpu = families->Add("evenkeel_daemon_cpu_seconds_total", "CPU time of the daemon",
                            MetricType::Counter);
  Families::Value(cpu, {}, seconds(usage.ru_utime) + seconds(usage.ru_stime));
}

}  // namespace

std::string RenderMetrics(const std::vector<ModelMetrics>& models, const NodeMetrics& node,
                          const std::vector<Accelerators::Use>& devices) {
  Families families;
  AddOutcomes(models, &families);
  for (const HistogramRow& row : kHistograms) {
    auto& family = families.Add(row.name, row.help, MetricType::Histogram);
    for (const auto& model : models)
      Families::Value(family, LabelsOf(model), model.stats.*row.member);
  }
  for (const ValueRow& row : kValues) {
    auto& family = families.Add(row.name, row.help, row.type);
    for (const auto& model : models)
      Families::Value(family, LabelsOf(model), row.value(model.stats));
  }
  AddInstances(models, &families);
  AddUsage(models, &families);
  AddWindows(models, &families);
  AddNode(node, &families);
  AddProfiles(models, node.profile_core_s, &families);
  AddDevices(devices, &families);
  AddProcess(&families);
  return families.Render();
}

}  // namespace evenkeel
