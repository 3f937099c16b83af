#include "batching/node_scheduler.h"

#include <algorithm>
#include <utility>

#include "batching/standing_record.h"
#include "core/check.h"

namespace evenkeel {
namespace {

// What a batch holds its core for beyond its compute is a mean over so many batches, and a single one (a stall, a page fault) counts
// for at most a few times the mean.
constexpr int kOverheadOver = 64;
constexpr Duration kOverheadLeast = std::chrono::microseconds(50);
constexpr Duration kNoObjective = std::chrono::hours(1);
constexpr Duration kBatchLook = std::chrono::milliseconds(500);
constexpr double kIdleCores = 0.02;  // a model that keeps no more busy has nothing kept for it

// The size of which a row costs least, of those known up to `most`; 1 where none is.
int CheapestSize(const policy::BatchCurve& curve, int most) {
  int best = 1;
  double least = 0;
  for (const auto& point : curve.points()) {
    const double cost = static_cast<double>(point.mean_ns) / point.rows;
    if (point.rows > most || (least > 0 && cost >= least)) continue;
    best = point.rows;
    least = cost;
  }
  return best;
}

}  // namespace

struct NodeScheduler::Slot {
  Member* member = nullptr;    // null: free
  Snapshot snapshot;           // as published
  std::vector<Start> granted;  // StartBatch() has not returned yet
  // As published, with what was granted taken off: what the policy sees.
  std::vector<policy::LaneView> lanes;
  std::vector<policy::InstanceView> instances;
  policy::BatchCurve curve, device_curve;
  std::unique_ptr<policy::Traffic> traffic;
  uint64_t batches = 0;
  int held = 0;  // overheads that were told, up to kOverheadOver
  int best_batch = 0;
};

NodeScheduler::NodeScheduler(std::unique_ptr<policy::NodePolicy> policy, int cores, bool save_power,
                             EventLoop& loop, const Clock& clock)
    : policy_(std::move(policy)),
      cores_(std::max(1, cores)),
      save_power_(save_power),
      clock_(clock),
      alarm_(loop.MakeAlarm([this] {
        {
          const std::lock_guard lock(mutex_);
          armed_ = kNever;
        }
        Run();
      })) {}

NodeScheduler::~NodeScheduler() {
  for (const auto& slot : slots_) EK_CHECK(slot->member == nullptr);
  EK_CHECK(standing_.empty() || StandingMembers() == 0);
}

void NodeScheduler::Close() {
  std::unique_ptr<Alarm> alarm;
  const std::lock_guard lock(mutex_);
  alarm.swap(alarm_);
}

int NodeScheduler::Join(Member* member) {
  const std::lock_guard lock(mutex_);
  const auto free =
      std::ranges::find_if(slots_, [](const auto& slot) { return slot->member == nullptr; });
  const auto id = static_cast<size_t>(free - slots_.begin());
  if (free == slots_.end()) {
    slots_.emplace_back();
    views_.emplace_back();
  }
  slots_[id] = std::make_unique<Slot>();
  slots_[id]->member = member;
  slots_[id]->traffic = std::make_unique<policy::Traffic>(clock_.Now());
  Refresh(static_cast<int>(id));
  return static_cast<int>(id);
}

void NodeScheduler::Leave(int id) {
  std::unique_lock lock(mutex_);
  Slot& slot = *slots_[static_cast<size_t>(id)];
  Cleared(id);  // nothing of it is started any more
  Refresh(id);
  called_.wait(lock, [&slot] { return slot.granted.empty(); });
  slot.member = nullptr;
  slot.traffic.reset();
  slot.curve = slot.device_curve = policy::BatchCurve();
  Cleared(id);
  Refresh(id);
  policy_->Forget(id);
}

NodeScheduler::Snapshot& NodeScheduler::Cleared(int id) {
  Snapshot& snapshot = slots_[static_cast<size_t>(id)]->snapshot;
  snapshot.lanes.clear();
  snapshot.instances.clear();
  snapshot.ids.clear();
  return snapshot;
}

void NodeScheduler::Refresh(int id) {
  Slot& slot = *slots_[static_cast<size_t>(id)];
  slot.lanes = slot.snapshot.lanes;
  slot.instances = slot.snapshot.instances;
  for (const Start& start : slot.granted) {
    for (size_t i = 0; i < slot.instances.size(); ++i) {
      if (slot.snapshot.ids[i] == start.instance) slot.instances[i].in_flight = 1;
    }
    if (start.lane >= static_cast<int>(slot.lanes.size())) continue;
    auto& lane = slot.lanes[static_cast<size_t>(start.lane)];
    lane.waiting_rows -= std::min(lane.waiting_rows, start.rows);
  }
  policy::ModelView& view = views_[static_cast<size_t>(id)];
  view.lanes = slot.lanes;
  view.instances = slot.instances;
  view.device = slot.snapshot.device;
  view.curve = &slot.curve;
  view.device_curve = &slot.device_curve;
  view.traffic = slot.traffic.get();
  // A slot with nothing to serve must not narrow what the others may do.
  const bool serves =
      !slot.snapshot.instances.empty() && slot.snapshot.objective > Duration::zero();
  view.objective = serves ? slot.snapshot.objective : kNoObjective;
  view.max_batch = slot.snapshot.max_batch;
  view.device_max_batch = slot.snapshot.device_max_batch;
  view.draining = slot.snapshot.draining;
  view.best_batch = slot.best_batch;
}

void NodeScheduler::Arrived(int id, int64_t rows, Time now) {
  const std::lock_guard lock(mutex_);
  slots_[static_cast<size_t>(id)]->traffic->OnArrival(rows, now);
}

void NodeScheduler::Ran(int id, DeviceClass device, int rows, Duration compute, Time now) {
  const std::lock_guard lock(mutex_);
  Record(id, device, rows, compute, now);
  ++slots_[static_cast<size_t>(id)]->batches;
}

void NodeScheduler::RanWarm(int id, DeviceClass device, int rows, Duration compute, Time now) {
  const std::lock_guard lock(mutex_);
  Record(id, device, rows, compute, now);
}

void NodeScheduler::Record(int id, DeviceClass device, int rows, Duration compute, Time now) {
  Slot& slot = *slots_[static_cast<size_t>(id)];
  const bool on_device = device == DeviceClass::kGpu;
  policy::BatchCurve& curve = on_device ? slot.device_curve : slot.curve;
  curve.Record(rows, compute);
  if (slot.batches % policy::Traffic::kBatchesPerLook != 0) return;
  const policy::ModelOutlook outlook = policy_->Outlook(id);
  const int size = std::max(1, on_device ? outlook.device_knee : outlook.knee);
  slot.traffic->SetBatchTime(curve.Mean(size), now);
}

void NodeScheduler::Held(int id, Duration overhead) {
  const std::lock_guard lock(mutex_);
  Slot& slot = *slots_[static_cast<size_t>(id)];
  const Duration mean = slot.curve.overhead();
  const Duration sample = std::clamp(overhead, Duration::zero(), 4 * mean + kOverheadLeast);
  const int over = std::min(++slot.held, kOverheadOver);
  slot.curve.SetOverhead(mean + (sample - mean) / over);
}

policy::BatchCurve::Timed NodeScheduler::TimeOf(int id, DeviceClass device, int rows) const {
  const std::lock_guard lock(mutex_);
  const Slot& slot = *slots_[static_cast<size_t>(id)];
  const policy::BatchCurve& curve = device == DeviceClass::kGpu ? slot.device_curve : slot.curve;
  return {rows, curve.Mean(rows), curve.P99(rows)};
}

void NodeScheduler::Seed(int id, DeviceClass device,
                         std::span<const policy::BatchCurve::Timed> times) {
  const std::lock_guard lock(mutex_);
  Slot& slot = *slots_[static_cast<size_t>(id)];
  policy::BatchCurve& live = device == DeviceClass::kGpu ? slot.device_curve : slot.curve;
  policy::BatchCurve curve;
  curve.SetOverhead(live.overhead());
  for (const auto& timed : times) curve.Set(timed.rows, timed.mean, timed.p99);
  live = curve;
}

void NodeScheduler::SetBest(int id, int rows, Duration batch_time) {
  const std::lock_guard lock(mutex_);
  Slot& slot = *slots_[static_cast<size_t>(id)];
  slot.best_batch = rows;
  slot.traffic->SetBatchTime(batch_time, clock_.Now());
  Refresh(id);
}

void NodeScheduler::Run() {
  std::vector<Standing*> changed;
  while (RunOne(&changed)) {
  }
  Tell(changed);
}

// False: nothing more is to be started now.
bool NodeScheduler::RunOne(std::vector<Standing*>* changed) {
  Slot* slot = nullptr;
  int model = 0;
  Start start;
  {
    const std::lock_guard lock(mutex_);
    const Time now = clock_.Now();
    const policy::Decision decision = policy_->Decide({.models = views_,
                                                       .cores = cores_,
                                                       .save_power = save_power_,
                                                       .standing = StandingCoresNow(),
                                                       .standing_share = shares_.entitled()},
                                                      now);
    if (!decision.start) {
      if (ShareStanding(now, changed)) return true;
      Arm(decision.wake_at);
      return false;
    }
    model = decision.model;
    slot = slots_[static_cast<size_t>(model)].get();
    start = {decision.lane, slot->snapshot.ids[static_cast<size_t>(decision.instance)],
             decision.rows, decision.reason};
    slot->granted.push_back(start);
    Refresh(model);
  }
  slot->member->StartBatch(start);
  const std::lock_guard lock(mutex_);
  const auto done = std::ranges::find(slot->granted, start.instance, &Start::instance);
  slot->granted.erase(done);
  Refresh(model);
  if (slot->granted.empty()) called_.notify_all();
  return true;
}

// What the batches on cores ask for in the long run. REQUIRES: mutex_ held.
void NodeScheduler::LookAtBatches(Time now) {
  if (batch_load_.looked != Time{} && now - batch_load_.looked < kBatchLook) return;
  batch_load_ = {.looked = now};
  for (size_t i = 0; i < slots_.size(); ++i) {
    const Slot& slot = *slots_[i];
    if (slot.member == nullptr || views_[i].device == DeviceClass::kGpu) continue;
    int threads = 0;  // of an instance
    for (const policy::InstanceView& one : slot.instances) threads = std::max(threads, one.threads);
    const Demand demand = DemandIn(slot, static_cast<int>(i), {}, {});
    const double cores = demand.rate_rps * Seconds(demand.batch_time) / demand.batch_rows *
                         std::min(threads, cores_);
    if (cores < kIdleCores) continue;
    ++batch_load_.models;
    batch_load_.cores += cores;
    batch_load_.shortest = batch_load_.shortest > Duration::zero()
                               ? std::min(batch_load_.shortest, views_[i].objective)
                               : views_[i].objective;
  }
}

void NodeScheduler::Arm(Time wake) {
  if (wake >= armed_ || alarm_ == nullptr) return;  // it rings earlier, and asks then
  armed_ = wake;
  alarm_->Set(wake);
}

bool NodeScheduler::Alone(int id) const {
  const std::lock_guard lock(mutex_);
  if (StandingCoresNow() > 0) return false;
  for (size_t i = 0; i < views_.size(); ++i) {
    if (static_cast<int>(i) == id || views_[i].device == DeviceClass::kGpu) continue;
    const auto waits = [](const policy::LaneView& lane) { return lane.waiting_rows > 0; };
    const auto runs = [](const policy::InstanceView& one) {
      return one.in_flight > 0 && one.threads > 0;
    };
    if (std::ranges::any_of(views_[i].lanes, waits) ||
        std::ranges::any_of(views_[i].instances, runs)) {
      return false;
    }
  }
  return true;
}

policy::ModelOutlook NodeScheduler::Window(int id) const {
  const std::lock_guard lock(mutex_);
  return policy_->Outlook(id);
}

NodeScheduler::Demand NodeScheduler::DemandOf(int id, Duration horizon, Duration recent) const {
  const std::lock_guard lock(mutex_);
  return DemandIn(*slots_[static_cast<size_t>(id)], id, horizon, recent);
}

// What steers instances and prices uses half a second and longer (A8).
NodeScheduler::Demand NodeScheduler::DemandIn(const Slot& slot, int id, Duration horizon,
                                              Duration recent) const {
  policy::Traffic& traffic = *slot.traffic;
  const Time now = clock_.Now();
  traffic.AdvanceTo(now);
  const policy::Aggregator& counts = traffic.counts();
  const int level = traffic.steering();
  const double seconds = Seconds(counts.interval(level));
  Demand demand;
  // What has come already in the open interval was forecast too low.
  demand.peak_rps = static_cast<double>(counts.open(level).items) / seconds;
  demand.rate_rps = std::max(
      traffic.RatePerSecond(std::max(horizon, policy::Traffic::kSteering), now), demand.peak_rps);
  const auto back = std::min<int64_t>(counts.size(level), recent / counts.interval(level));
  for (int i = 0; i < back; ++i) {
    demand.peak_rps =
        std::max(demand.peak_rps, static_cast<double>(counts.at(level, i).items) / seconds);
  }
  // Instances on an accelerator are the only ones, or come first: those on cores are planned for what is left.
  const policy::ModelOutlook outlook = policy_->Outlook(id);
  const bool gpu = slot.snapshot.device == DeviceClass::kGpu;
  const policy::BatchCurve& curve = gpu ? slot.device_curve : slot.curve;
  const int knee = gpu ? outlook.device_knee : outlook.knee;
  const int most = gpu ? slot.snapshot.device_max_batch : slot.snapshot.max_batch;
  demand.batch_rows = knee > 0 ? knee : CheapestSize(curve, most);
  demand.batch_time = curve.Mean(demand.batch_rows);
  if (!gpu && outlook.device_first) {
    demand.rate_rps = std::max(0.0, demand.rate_rps - outlook.device_rows_s);
    demand.peak_rps = std::max(0.0, demand.peak_rps - outlook.device_rows_s);
  }
  demand.last_arrival = traffic.last_arrival();
  return demand;
}

NodeScheduler::Load NodeScheduler::LoadNow() const {
  const std::lock_guard lock(mutex_);
  Load load;
  load.busy_cores = HeldCores();
  for (size_t i = 0; i < slots_.size(); ++i) {
    const Slot& slot = *slots_[i];
    if (slot.member == nullptr) continue;
    int threads = 0;  // of an instance
    for (const policy::InstanceView& one : slot.instances) {
      threads = std::max(threads, one.threads);
      if (one.in_flight > 0) load.busy_cores += std::min(one.threads, cores_);
    }
    const Demand demand = DemandIn(slot, static_cast<int>(i), {}, {});
    load.forecast_cores += demand.rate_rps * Seconds(demand.batch_time) / demand.batch_rows *
                           std::min(threads, cores_);
  }
  return load;
}

NodeScheduler::Outlook NodeScheduler::OutlookOf(int id) const {
  const std::lock_guard lock(mutex_);
  const Slot& slot = *slots_[static_cast<size_t>(id)];
  policy::Traffic& traffic = *slot.traffic;
  const Time now = clock_.Now();
  traffic.AdvanceTo(now);
  Outlook outlook;
  outlook.window = policy_->Outlook(id);
  for (const policy::LaneView& lane : slot.lanes) {
    if (lane.waiting_rows > 0)
      outlook.left_age = std::max(outlook.left_age, now - lane.oldest_arrival);
  }
  outlook.steering = static_cast<size_t>(traffic.steering());
  outlook.forecast_errors = traffic.errors();
  for (int level = 0; level < policy::Aggregator::kLevels; ++level) {
    const policy::ForecastSelector& forecast = traffic.forecast(level);
    const Duration interval = traffic.counts().interval(level);
    // Before two intervals have ended the forecasters know nothing; the rate so far does.
    const double next = forecast.seen() < 2
                            ? traffic.RatePerSecond(interval, now) * Seconds(interval)
                            : traffic.NextItems(level);
    const double seen = std::max<double>(1, static_cast<double>(forecast.seen()));
    outlook.forecasts[static_cast<size_t>(level)] = {
        .interval = interval,
        .next_rows = next,
        .last_rows = forecast.last_actual(),
        .mean_error = forecast.error_sum() / seen,
        .naive_error = forecast.last_value_error_sum() / seen,
        .forecaster = forecast.followed()};
  }
  return outlook;
}

double NodeScheduler::RatePerSecond(int id, Duration span) const {
  const std::lock_guard lock(mutex_);
  policy::Traffic& traffic = *slots_[static_cast<size_t>(id)]->traffic;
  const Time now = clock_.Now();
  traffic.AdvanceTo(now);
  return traffic.RatePerSecond(span, now);
}

bool NodeScheduler::SharesCores(bool decides_itself) const {
  const bool gated = policy_->name() == "auto" || policy_->name() == "gated-greedy";
  if (gated && !decides_itself) return false;
  const std::lock_guard lock(mutex_);
  return std::ranges::count_if(slots_, [](const auto& slot) { return slot->member != nullptr; }) >
         1;
}

}  // namespace evenkeel
