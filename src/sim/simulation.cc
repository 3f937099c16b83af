#include "sim/simulation.h"

#include <algorithm>
#include <cmath>
#include <optional>

#include "batching/policy/admission.h"
#include "core/check.h"
#include "sim/sim_queue.h"

namespace evenkeel::sim {
namespace {

using namespace std::chrono_literals;
using policy::BatchCurve;
using policy::Decision;
using policy::InstanceView;
using policy::LaneView;
using policy::ModelView;
using policy::Traffic;

constexpr size_t kLookAhead = 256;  // arrivals that `oracle` may see

// Arrivals with a look ahead.
class Feed {
 public:
  explicit Feed(std::unique_ptr<Arrivals> source) : source_(std::move(source)) { Fill(); }
  Time next() const { return head_ < times_.size() ? times_[head_] : kNever; }
  std::span<const Time> later() const { return std::span(times_).subspan(head_); }
  void Pop() {
    ++head_;
    if (times_.size() - head_ < kLookAhead) Fill();
  }

 private:
  void Fill() {
    times_.erase(times_.begin(), times_.begin() + static_cast<std::ptrdiff_t>(head_));
    head_ = 0;
    while (!ended_ && times_.size() < 4 * kLookAhead) {
      if (const auto time = source_->Next()) {
        times_.push_back(*time);
      } else {
        ended_ = true;
      }
    }
  }
  std::unique_ptr<Arrivals> source_;
  std::vector<Time> times_;
  size_t head_ = 0;
  bool ended_ = false;
};

struct Running {
  int model = 0, instance = 0, rows = 0, threads = 1;
  bool on_device = false;   // at its own speed, whatever runs on the cores
  double work_left_ns = 0;  // at a core a thread
  Time started{};
  std::vector<Time> arrivals;
};

struct Model {
  Model(const SimModel& m, const SimOptions& options, uint64_t index)
      : spec(m),
        feed(m.arrivals->Play(options.factor, Random(options.seed, 2 * index).Next())),
        random(options.seed, 2 * index + 1),
        traffic(Time{}) {
    if (m.device != DeviceClass::kGpu) Add(m.instances, DeviceClass::kCpu, m.threads);
    if (m.device != DeviceClass::kCpu) Add(m.device_instances, DeviceClass::kGpu, m.device_cores);
    for (int rows = 1; m.device != DeviceClass::kGpu && rows <= m.max_batch; ++rows)
      Record(/*on_device=*/false, rows, m.service.Draw(rows, random), {}, Time{});
    for (int rows = 1; m.device != DeviceClass::kCpu && rows <= m.device_max_batch; ++rows)
      Record(/*on_device=*/true, rows, m.device_service.Draw(rows, random), {}, Time{});
    if (m.best_batch > 0) traffic.SetBatchTime(m.service.curve().Mean(m.best_batch), Time{});
    curve.SetOverhead(options.overhead);
    lane.head_rows = m.rows;
  }

  // As NodeScheduler::Ran().
  void Ran(bool on_device, int batch_rows, Duration took, const policy::ModelOutlook& outlook,
           Time now) {
    Record(on_device, batch_rows, took, outlook, now);
    ++batches;
  }

  // As NodeScheduler::RanWarm().
  void Record(bool on_device, int batch_rows, Duration took, const policy::ModelOutlook& outlook,
              Time now) {
    BatchCurve& of = on_device ? device_curve : curve;
    of.Record(batch_rows, took);
    const int knee = on_device ? outlook.device_knee : outlook.knee;
    if (batches % Traffic::kBatchesPerLook == 0)
      traffic.SetBatchTime(of.Mean(std::max(1, knee)), now);
  }

  void Add(int count, DeviceClass device, int threads) {
    for (int i = 0; i < count; ++i) {
      InstanceView& instance = instances.emplace_back();
      instance.device = device;
      instance.threads = threads;
    }
  }
  BatchCurve& CurveOf(const InstanceView& instance) {
    return instance.device == DeviceClass::kGpu ? device_curve : curve;
  }
  // On the class that is faster at this size, as Dispatcher::Estimate.
  Duration Mean(int n) const {
    if (spec.device == DeviceClass::kCpu) return curve.Mean(n);
    const Duration device = device_curve.Mean(n);
    return spec.device == DeviceClass::kGpu ? device : std::min(device, curve.Mean(n));
  }

  // Of all instances, which share the batches by how fast they are, as Dispatcher::MeanTime.
  Duration MeanOfAll(int n) const {
    if (spec.device == DeviceClass::kCpu) return curve.Mean(n);
    double batches_per_ns = 0;
    for (const InstanceView& instance : instances) {
      const bool gpu = instance.device == DeviceClass::kGpu;
      const Duration each = std::max<Duration>(1ns, (gpu ? device_curve : curve).Mean(n));
      batches_per_ns += 1 / static_cast<double>(each.count());
    }
    return Duration(static_cast<int64_t>(static_cast<double>(instances.size()) / batches_per_ns));
  }

  const SimModel& spec;
  Feed feed;
  Random random;
  SimQueue queue;
  LaneView lane;
  std::vector<InstanceView> instances;
  BatchCurve curve, device_curve;
  Traffic traffic;
  uint64_t batches = 0;
  Duration turn{};         // that batches whose rows lay ready waited for a core, lately
  Time last_end = kNever;  // of a batch after which something waited
  ModelOutcome out;
};

class Simulation {
 public:
  Simulation(const std::vector<SimModel>& specs, policy::NodePolicy& policy,
             const SimOptions& options)
      : options_(options), policy_(policy), end_(Time(options.length)) {
    models_.reserve(specs.size());
    for (const SimModel& spec : specs) {
      EK_CHECK(spec.objective > Duration::zero() && spec.rows <= spec.max_batch);
      EK_CHECK(spec.device == DeviceClass::kCpu || spec.rows <= spec.device_max_batch);
      models_.emplace_back(spec, options, models_.size());
      models_.back().out.name = spec.name;
      models_.back().out.objective = spec.objective;
      models_.back().out.device_share = spec.device_share;
      models_.back().out.series.resize(static_cast<size_t>(options.plot_bins));
    }
    for (Model& m : models_) {
      ModelView view;
      view.lanes = {&m.lane, 1};
      view.instances = m.instances;
      view.device = m.spec.device;
      view.curve = &m.curve;
      view.device_curve = &m.device_curve;
      view.device_max_batch = m.spec.device_max_batch;
      view.traffic = &m.traffic;
      view.objective = m.spec.objective;
      view.max_batch = std::min(MaxRows(m), m.spec.max_batch);
      view.max_delay = m.spec.max_delay;
      view.preferred_sizes = m.spec.preferred_sizes;
      view.best_batch = m.spec.best_batch;
      views_.push_back(view);
    }
    node_.models = views_;
    node_.cores = options.cores;
    node_.save_power = options.save_power;
    if (options.plot_bins > 0) bin_ = options.length / options.plot_bins;
  }

  SimReport Run();

 private:
  bool Measured(Time t) const { return t >= Time(options_.warm_up) && t < end_; }
  Duration Deadline(const Model& m) const {
    return options_.deadlines ? m.spec.objective : Duration::max();
  }
  double SpeedOf(const Running& batch) const { return batch.on_device ? 1 : speed_; }
  void SetSpeed();
  Time NextCompletion() const;
  void AdvanceWork(Time to);
  void Arrive(Model& m);
  bool Admitted(const Model& m) const;
  double SharedStretch(const Model& m) const;
  int MaxRows(const Model& m) const;
  void Refresh(Model& m);
  void DropExpired(Model& m);
  void Complete();
  void Plan();
  void Start(const Decision& decision);
  SimReport Report();

  const SimOptions& options_;
  policy::NodePolicy& policy_;
  const Time end_;
  std::vector<Model> models_;
  std::vector<ModelView> views_;
  policy::NodeView node_;
  std::vector<Running> running_;
  std::vector<std::vector<Time>> spare_;  // vectors of batches that ended
  std::vector<SimBatch> batches_;         // if they are to be listed
  Time now_{}, wake_ = kNever;
  Time freed_ = kNever;  // when a batch ended last
  double speed_ = 1;
  double busy_core_s_ = 0;
  uint64_t requests_ = 0, decisions_ = 0;
  Duration bin_{};
  size_t bin_index_ = 0;
  double bin_core_s_ = 0;
};

Time Simulation::NextCompletion() const {
  double least = -1;
  for (const Running& batch : running_) {
    const double left = batch.work_left_ns / SpeedOf(batch);
    if (least < 0 || left < least) least = left;
  }
  return least < 0 ? kNever : now_ + Duration(static_cast<int64_t>(std::ceil(least)));
}

// Threads on the cores share them; with none running there is nothing to slow down.
void Simulation::SetSpeed() {
  int threads = 0;
  for (const Running& batch : running_) threads += batch.threads;
  speed_ = threads == 0 ? 1 : std::min(1.0, static_cast<double>(options_.cores) / threads);
}

void Simulation::AdvanceWork(Time to) {
  const auto passed = static_cast<double>((to - now_).count());
  int threads = 0;
  for (Running& batch : running_) {
    batch.work_left_ns -= passed * SpeedOf(batch);
    threads += batch.threads;
  }
  const double cores = std::min(threads, options_.cores);
  const Duration counted = std::min(to, end_) - std::max(now_, Time(options_.warm_up));
  if (counted > Duration::zero()) busy_core_s_ += cores * Seconds(counted);
  bin_core_s_ += cores * passed * 1e-9;
  now_ = to;
}

// As Dispatcher::SharedStretch.
double Simulation::SharedStretch(const Model& m) const {
  if (m.spec.device != DeviceClass::kCpu) return 1;
  return policy_.Outlook(static_cast<int>(&m - models_.data())).stretch;
}

int Simulation::MaxRows(const Model& m) const {
  int rows = m.spec.device == DeviceClass::kCpu ? m.spec.max_batch
             : m.spec.device == DeviceClass::kGpu
                 ? m.spec.device_max_batch
                 : std::max(m.spec.max_batch, m.spec.device_max_batch);
  // Sizes that take longer than the objective are not in use; with deadlines as Dispatcher::RowsWithin has it.
  const Duration longest =
      options_.deadlines ? policy::LongestBatch(m.spec.objective) : m.spec.objective;
  while (rows > m.spec.rows && m.Mean(rows) > longest) rows /= 2;
  return std::max(rows, m.spec.rows);
}

bool Simulation::Admitted(const Model& m) const {
  const auto waiting = static_cast<int64_t>(m.queue.size()) * m.spec.rows;
  if (waiting + m.spec.rows > options_.max_queue_rows) return false;
  policy::AdmissionView view;
  for (const Running& batch : running_) {
    if (&models_[static_cast<size_t>(batch.model)] != &m) continue;
    const BatchCurve& curve = batch.on_device ? m.device_curve : m.curve;
    view.running += std::max(Duration::zero(), curve.Mean(batch.rows) - (now_ - batch.started));
  }
  const policy::ModelOutlook window = policy_.Outlook(static_cast<int>(&m - models_.data()));
  const int most = std::max(window.most, window.device_knee);
  view.rows_ahead = waiting;
  view.rows = m.spec.rows;
  view.size = MaxRows(m);
  if (most > 0) view.size = std::clamp(most, m.spec.rows, view.size);
  view.batch_time = m.MeanOfAll(view.size);
  view.instances = static_cast<int>(m.instances.size());
  view.turn = m.turn;
  view.stretch = SharedStretch(m);
  const Duration limit = options_.deadlines ? m.spec.objective : 10 * m.spec.objective;
  return policy::PredictedAnswer(view) <= limit;
}

void Simulation::Refresh(Model& m) {
  m.lane.waiting_rows = static_cast<int64_t>(m.queue.size()) * m.spec.rows;
  if (m.queue.empty()) return;
  m.lane.oldest_arrival = m.queue.front();
  m.lane.earliest_deadline = options_.deadlines ? m.queue.front() + Deadline(m) : kNever;
  m.lane.max_rows = MaxRows(m);
}

void Simulation::Arrive(Model& m) {
  const Time arrived = m.feed.next();
  m.feed.Pop();
  ++requests_;
  m.traffic.OnArrival(m.spec.rows, arrived);
  if (bin_index_ < m.out.series.size())
    m.out.series[bin_index_].arrived_rps += m.spec.rows / Seconds(bin_);
  if (Measured(arrived)) ++m.out.arrived;
  if (!Admitted(m)) {
    if (Measured(arrived)) ++m.out.shed;
    return;
  }
  m.queue.Push(arrived);
  m.lane.newest_arrival = arrived;
  Refresh(m);
}

void Simulation::DropExpired(Model& m) {
  if (!options_.deadlines) return;
  bool dropped = false;
  while (!m.queue.empty() && m.queue.front() + m.spec.objective < now_ + m.Mean(m.spec.rows)) {
    if (Measured(m.queue.front())) ++m.out.expired;
    m.queue.Pop();
    dropped = true;
  }
  if (dropped) Refresh(m);
}

void Simulation::Plan() {
  for (Model& m : models_) DropExpired(m);
  for (size_t i = 0; i < models_.size(); ++i) views_[i].later_arrivals = models_[i].feed.later();
  for (;;) {
    ++decisions_;
    const Decision decision = policy_.Decide(node_, now_);
    if (!decision.start) {
      // As the daemon's alarm: one that is set is not put off; when it rings the policy is asked again.
      wake_ = std::min(wake_, std::max(decision.wake_at, now_ + Duration(1)));
      return;
    }
    Start(decision);
  }
}

void Simulation::Start(const Decision& decision) {
  Model& m = models_.at(static_cast<size_t>(decision.model));
  InstanceView& instance = m.instances.at(static_cast<size_t>(decision.instance));
  EK_CHECK(decision.rows >= 1 && decision.rows <= m.lane.waiting_rows && instance.in_flight == 0);
  Running batch;
  batch.model = decision.model;
  batch.instance = decision.instance;
  batch.on_device = instance.device == DeviceClass::kGpu;
  batch.threads = batch.on_device ? instance.threads : std::max(1, instance.threads);
  batch.started = now_;
  if (!spare_.empty()) {
    batch.arrivals = std::move(spare_.back());
    spare_.pop_back();
  }
  // At least one request, then as many whole ones as fit, and as the instance's class takes.
  const int64_t most = std::min<int64_t>(
      decision.rows, batch.on_device ? m.spec.device_max_batch : m.spec.max_batch);
  do {
    batch.arrivals.push_back(m.queue.front());
    if (Measured(m.queue.front())) m.out.wait.Add(now_ - m.queue.front());
    m.queue.Pop();
    batch.rows += m.spec.rows;
  } while (!m.queue.empty() && batch.rows + m.spec.rows <= most);
  Refresh(m);
  // What starts without a core coming free was not kept waiting by the others: it was held, or nothing was in its way.
  if (freed_ != now_) m.last_end = kNever;
  // Nobody else wants the share of the device that a batch holds while it is handed over.
  const Duration overhead = batch.on_device ? Duration() : options_.overhead;
  const ServiceTimes& service = batch.on_device ? m.spec.device_service : m.spec.service;
  const Duration took = overhead + service.Draw(batch.rows, m.random);
  batch.work_left_ns = static_cast<double>(took.count());
  instance.in_flight = 1;
  instance.busy_until = now_ + m.CurveOf(instance).Mean(batch.rows);
  if (options_.list_batches) batches_.push_back({now_, batch.model, batch.rows, decision.reason});
  if (Measured(now_)) {
    ++m.out.batches[batch.rows];
    ++m.out.reasons[static_cast<size_t>(decision.reason)];
    m.out.core_seconds += Seconds(took) * std::min(batch.threads, options_.cores);
    if (batch.on_device) {
      m.out.device_seconds += Seconds(took);
      m.out.device_rows += static_cast<uint64_t>(batch.rows);
    }
    m.out.rows_run += static_cast<uint64_t>(batch.rows);
  }
  running_.push_back(std::move(batch));
  SetSpeed();
}

void Simulation::Complete() {
  for (size_t i = 0; i < running_.size();) {
    if (running_[i].work_left_ns > 0.5) {
      ++i;
      continue;
    }
    Running batch = std::move(running_[i]);
    running_[i] = std::move(running_.back());
    running_.pop_back();
    Model& m = models_[static_cast<size_t>(batch.model)];
    InstanceView& instance = m.instances[static_cast<size_t>(batch.instance)];
    instance.in_flight = 0;
    freed_ = now_;
    const Duration compute = now_ - batch.started;
    const Duration overhead = batch.on_device ? Duration() : options_.overhead;
    m.Ran(batch.on_device, batch.rows, compute - overhead, policy_.Outlook(batch.model), now_);
    if (m.last_end != kNever) {
      const Duration cycle = (now_ - m.last_end) * static_cast<int64_t>(m.instances.size());
      const Duration waited = std::clamp(cycle - compute, Duration::zero(), m.spec.objective);
      m.turn += (waited - m.turn) / 16;
    } else {
      m.turn -= m.turn / 64;
    }
    m.last_end = m.queue.empty() ? kNever : now_;
    for (const Time arrived : batch.arrivals) {
      if (!Measured(arrived)) continue;
      const Duration latency = now_ - arrived + options_.front;
      m.out.latency.Add(latency);
      ++(latency <= m.spec.objective ? m.out.within : m.out.late);
    }
    batch.arrivals.clear();
    spare_.push_back(std::move(batch.arrivals));
  }
  SetSpeed();
}

SimReport Simulation::Run() {
  for (;;) {
    Time next = std::min(wake_, NextCompletion());
    Model* arriving = nullptr;
    for (Model& m : models_) {
      const Time at = m.feed.next();
      if (at < next && at < end_) {
        next = at;
        arriving = &m;
      }
    }
    if (next == kNever) break;
    if (bin_ > Duration::zero()) {
      while (bin_index_ < static_cast<size_t>(options_.plot_bins) &&
             next >= Time(bin_ * static_cast<int64_t>(bin_index_ + 1))) {
        for (Model& m : models_) {
          m.traffic.AdvanceTo(now_);
          m.out.series[bin_index_].forecast_rps = m.traffic.RatePerSecond(500ms, now_);
          m.out.series[bin_index_].cores = bin_core_s_ / Seconds(bin_);
        }
        bin_core_s_ = 0;
        ++bin_index_;
      }
    }
    AdvanceWork(next);
    if (now_ >= wake_) wake_ = kNever;
    if (arriving != nullptr) {
      Arrive(*arriving);
    } else {
      Complete();
    }
    Plan();
  }
  return Report();
}

SimReport Simulation::Report() {
  SimReport report;
  report.policy = policy_.name();
  report.measured_s = Seconds(options_.length - options_.warm_up);
  report.mean_cores = busy_core_s_ / report.measured_s;
  report.requests = requests_;
  report.decisions = static_cast<double>(decisions_);
  report.batches = std::move(batches_);
  for (size_t i = 0; i < models_.size(); ++i) {
    Model& m = models_[i];
    // What still waits is there because the policy never took it: that would be a wrong policy, and counts as late.
    for (; !m.queue.empty(); m.queue.Pop())
      if (Measured(m.queue.front())) ++m.out.late;
    m.out.outlook = policy_.Outlook(static_cast<int>(i));
    for (int level = 0; level < policy::Aggregator::kLevels; ++level) {
      const policy::ForecastSelector& f = m.traffic.forecast(level);
      const double n = static_cast<double>(std::max<int64_t>(1, f.seen() - 1));
      m.out.forecast[static_cast<size_t>(level)] = {m.traffic.counts().interval(level),
                                                    f.error_sum() / n, f.last_value_error_sum() / n,
                                                    f.seen(), std::string(f.followed())};
    }
    report.models.push_back(std::move(m.out));
  }
  return report;
}

}  // namespace

SimReport Simulate(const std::vector<SimModel>& models, policy::NodePolicy& policy,
                   const SimOptions& options) {
  EK_CHECK(!models.empty() && options.cores >= 1 && options.length > options.warm_up);
  return Simulation(models, policy, options).Run();
}

}  // namespace evenkeel::sim
