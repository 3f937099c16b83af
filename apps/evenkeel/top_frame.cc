#include "top_frame.h"

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <functional>
#include <limits>
#include <map>
#include <tuple>

#include "figures.h"

namespace evenkeel {
namespace {

using Json = nlohmann::ordered_json;

bool Belongs(const PrometheusLabels& labels, const TopModel& model) {
  const auto name = labels.find("model");
  const auto version = labels.find("version");
  return name != labels.end() && name->second == model.name &&
         (version == labels.end() || version->second == model.version);
}

std::optional<double> GaugeOf(const PrometheusText& text, std::string_view metric,
                              const TopModel& model) {
  for (const auto& [labels, value] : text.Of(metric)) {
    if (Belongs(labels, model)) return value;
  }
  return std::nullopt;
}

double Grown(double before, double now) { return now >= before ? now - before : now; }

// Two looks at one server.
class Difference {
 public:
  Difference(const TopLook& before, const TopLook& now)
      : before_(before.metrics), now_(now.metrics) {}

  // By the value of `label`; "" for metrics without it.
  std::map<std::string, double> By(std::string_view metric, const char* label,
                                   const TopModel& model) const {
    std::map<std::string, double> grown;
    const auto& earlier = before_.Of(metric);
    for (const auto& [labels, value] : now_.Of(metric)) {
      if (!Belongs(labels, model)) continue;
      const auto was = earlier.find(labels);
      const auto at = labels.find(label);
      grown[at == labels.end() ? "" : at->second] +=
          Grown(was == earlier.end() ? 0 : was->second, value);
    }
    return grown;
  }
  double Of(std::string_view metric, const TopModel& model) const {
    double sum = 0;
    for (const auto& [label, grown] : By(metric, "", model)) sum += grown;
    return sum;
  }

 private:
  const PrometheusText& before_;
  const PrometheusText& now_;
};

// As Prometheus's histogram_quantile(): a straight line within the bucket. `grown` is by the text of the upper bound, cumulative.
std::optional<double> Quantile(const std::map<std::string, double>& grown, double q) {
  std::map<double, double> below;
  for (const auto& [bound, count] : grown) {
    below[bound == "+Inf" ? std::numeric_limits<double>::infinity() : std::atof(bound.c_str())] =
        count;
  }
  if (below.empty() || below.rbegin()->second <= 0) return std::nullopt;
  const double rank = q * below.rbegin()->second;
  double last_bound = 0;
  double last_count = 0;
  for (const auto& [bound, count] : below) {
    if (count >= rank && count > last_count) {
      if (std::isinf(bound)) return last_bound;
      return last_bound + (bound - last_bound) * (rank - last_count) / (count - last_count);
    }
    last_bound = bound;
    last_count = count;
  }
  return last_bound;
}

std::optional<double> NumberAt(const Json& object, const char* key) {
  if (!object.is_object() || !object.contains(key) || !object[key].is_number()) return std::nullopt;
  return object[key].get<double>();
}

void ReadInstances(const Json& described, TopModel* model, double* threads) {
  std::map<std::string, int> shapes;
  for (const Json& instance : described.value("instances", Json::array())) {
    ++model->instances;
    // Of those on an accelerator no core is the engine's.
    if (const std::string device = TextAt(instance, "device"); device.empty() || device == "CPU")
      *threads = std::max(*threads, NumberAt(instance, "threads").value_or(1));
    if (TextAt(instance, "state") != "ready") continue;
    ++model->instances_ready;
    if (const std::string shape = TextAt(instance, "shape"); !shape.empty()) ++shapes[shape];
  }
  model->shapes.assign(shapes.begin(), shapes.end());
}

void ReadWindow(const PrometheusText& metrics, TopModel* model) {
  const auto rows = [&](const char* metric) -> std::optional<int> {
    const auto value = GaugeOf(metrics, metric, *model);
    // 0: the policy has none.
    return value && *value > 0 ? std::optional(static_cast<int>(*value)) : std::nullopt;
  };
  model->knee_rows = rows("evenkeel_window_knee_rows");
  model->target_rows = rows("evenkeel_window_target_rows");
  if (model->knee_rows) model->price = GaugeOf(metrics, "evenkeel_window_price", *model);
  model->forecast_rows_per_s = GaugeOf(metrics, "evenkeel_forecast_rows_per_second", *model);
  model->actual_rows_per_s = GaugeOf(metrics, "evenkeel_actual_rows_per_second", *model);
  model->queue_rows = GaugeOf(metrics, "evenkeel_queue_rows", *model).value_or(0);
}

void ReadBatches(const Difference& grown, TopModel* model) {
  double batches = 0;
  for (const auto& [reason, count] : grown.By("evenkeel_batches_total", "reason", *model)) {
    if (count > 0) model->closed.emplace_back(reason, count);
    batches += count;
  }
  for (auto& [reason, share] : model->closed) share /= batches;
  std::ranges::stable_sort(model->closed, std::greater<>(),
                           &std::pair<std::string, double>::second);
  const double run = grown.Of("evenkeel_batch_rows_count", *model);
  if (run > 0) model->mean_batch_rows = grown.Of("evenkeel_batch_rows_sum", *model) / run;
}

void ReadOutcomes(const Difference& grown, double seconds, TopModel* model) {
  double all = 0;
  double errors = 0;
  for (const auto& [code, count] : grown.By("evenkeel_requests_total", "code", *model)) {
    all += count;
    if (code != "ok" && code != "overloaded" && code != "cancelled") errors += count;
  }
  model->requests_per_s = all / seconds;
  model->errors_per_s = errors / seconds;
  model->rows_per_s = grown.Of("evenkeel_items_total", *model) / seconds;
  model->sheds_per_s = grown.Of("evenkeel_sheds_total", *model) / seconds;
}

TopModel MakeModel(const Json& described, const TopLook& before, const TopLook& now,
                   double seconds) {
  TopModel model;
  model.name = TextAt(described, "name");
  model.version = TextAt(described, "version");
  model.state = TextAt(described, "state");
  model.policy = TextAt(described, "policy");
  model.objective_ms = NumberAt(described, "objective_ms");
  double threads = 1;
  ReadInstances(described, &model, &threads);
  ReadWindow(now.metrics, &model);
  const Difference grown(before, now);
  ReadBatches(grown, &model);
  ReadOutcomes(grown, seconds, &model);
  const auto latency = grown.By("evenkeel_request_seconds_bucket", "le", model);
  const auto quantile = [&](double q) -> std::optional<double> {
    const auto found = Quantile(latency, q);
    return found ? std::optional(*found * 1e3) : std::nullopt;
  };
  model.p50_ms = quantile(0.5);
  model.p99_ms = quantile(0.99);
  const auto by_device = grown.By("evenkeel_device_compute_seconds_total", "device", model);
  const auto on_cores = by_device.find("CPU");
  // Servers of before told the sum alone.
  model.cores = (on_cores != by_device.end() ? on_cores->second
                                             : grown.Of("evenkeel_compute_seconds_sum", model)) /
                seconds * threads;
  return model;
}

// Of a metric without labels.
std::optional<double> Single(const PrometheusText& text, std::string_view metric) {
  const auto& samples = text.Of(metric);
  return samples.empty() ? std::nullopt : std::optional(samples.begin()->second);
}

Json OrNull(const std::optional<double>& value) { return value ? Json(*value) : Json(); }
Json OrNull(const std::optional<int>& value) { return value ? Json(*value) : Json(); }

}  // namespace

TopFrame MakeFrame(const TopLook& before, const TopLook& now) {
  TopFrame frame;
  frame.seconds = std::max(1e-3, Seconds(now.at - before.at));
  for (const Json& described : now.models_page.value("models", Json::array())) {
    frame.models.push_back(MakeModel(described, before, now, frame.seconds));
    const TopModel& model = frame.models.back();
    frame.models_ready += model.state == "READY";
    frame.cores_used += model.cores;
    frame.queue_rows += model.queue_rows;
    if (model.price) frame.price = std::max(frame.price.value_or(0), *model.price);
  }
  const Json node = now.models_page.value("node", Json::object());
  frame.cores = NumberAt(node, "cores");
  frame.policy = TextAt(node, "policy");
  const auto cpu = Single(now.metrics, "evenkeel_daemon_cpu_seconds_total");
  const auto cpu_before = Single(before.metrics, "evenkeel_daemon_cpu_seconds_total");
  if (cpu && cpu_before) frame.daemon_cores = Grown(*cpu_before, *cpu) / frame.seconds;
  return frame;
}

void Sort(TopOrder order, TopFrame* frame) {
  const auto key = [order](const TopModel& model) -> double {
    switch (order) {
      case TopOrder::kName: return 0;
      case TopOrder::kCores: return -model.cores;
      case TopOrder::kRate: return -model.rows_per_s;
      case TopOrder::kP99: return -model.p99_ms.value_or(-1);
      case TopOrder::kQueue: return -model.queue_rows;
    }
    return 0;
  };
  std::ranges::stable_sort(frame->models, [&](const TopModel& a, const TopModel& b) {
    return std::tuple<double, const std::string&>(key(a), a.name) <
           std::tuple<double, const std::string&>(key(b), b.name);
  });
}

Json ToJson(const TopFrame& frame) {
  Json models = Json::array();
  for (const TopModel& m : frame.models) {
    Json closed = Json::object();
    for (const auto& [reason, share] : m.closed) closed[reason] = share;
    Json shapes = Json::object();
    for (const auto& [shape, count] : m.shapes) shapes[shape] = count;
    models.push_back({{"name", m.name},
                      {"version", m.version},
                      {"state", m.state},
                      {"policy", m.policy},
                      {"objective_ms", OrNull(m.objective_ms)},
                      {"requests_per_s", m.requests_per_s},
                      {"rows_per_s", m.rows_per_s},
                      {"forecast_rows_per_s", OrNull(m.forecast_rows_per_s)},
                      {"actual_rows_per_s", OrNull(m.actual_rows_per_s)},
                      {"window",
                       {{"knee_rows", OrNull(m.knee_rows)},
                        {"target_rows", OrNull(m.target_rows)},
                        {"price", OrNull(m.price)}}},
                      {"mean_batch_rows", OrNull(m.mean_batch_rows)},
                      {"closed", std::move(closed)},
                      {"p50_ms", OrNull(m.p50_ms)},
                      {"p99_ms", OrNull(m.p99_ms)},
                      {"queue_rows", m.queue_rows},
                      {"instances", m.instances},
                      {"instances_ready", m.instances_ready},
                      {"shapes", std::move(shapes)},
                      {"cores", m.cores},
                      {"sheds_per_s", m.sheds_per_s},
                      {"errors_per_s", m.errors_per_s}});
  }
  return {{"schema", "evenkeel.top/v1"},
          {"seconds", frame.seconds},
          {"node",
           {{"cores", OrNull(frame.cores)},
            {"cores_used", frame.cores_used},
            {"price", OrNull(frame.price)},
            {"policy", frame.policy},
            {"queue_rows", frame.queue_rows},
            {"daemon_cores", OrNull(frame.daemon_cores)}}},
          {"models", std::move(models)}};
}

}  // namespace evenkeel
