// `auto`: the gate, and windows that weigh the waiting of rows against the core time that larger batches save.
//
// Every half second (Refresh), a model: its knee N, its rate lambda, its target n(p); and for the node the price p.
// A model that waits and has an idle instance is ready when
//   - N rows wait (kFull), or
//   - p = 0 (kIdle): every instance has cores of its own, or the forecast demand fits the cores even one by one, or
//   - n(p) rows wait (kWorth), or its hold is over (kDeadline, hold.h).
// The guard (guard.h) keeps p at 0 for a while where waiting was seen to cost objectives.
// Of the ready models the gate picks the most urgent; it runs min(what waits, N) rows.
// While the models want more cores than there are (ShareOut), each is granted a share of them (core_shares.h), admission is told what
// it can count on, and urgency is (age + time that it is behind its share) / O: ages alone say nothing then, since every queue is as
// old as its deadlines let it be, and whoever batches best would take the others' cores.
// Differs from "The window, ours" in one point: a model that is behind (two knees of rows wait, or its oldest row for more than a
//   quarter of its objective), or that shares its cores with none, may run more than N rows: up to the least size within 0.5 %
//   of the best time of a row that takes at most a quarter of its own objective. Where an instance is the bottleneck the last
//   5 % count (docs/batching_policy.md). Where sizes up to 0.45 of the objective save more than another 5 %, one whose oldest row has waited for a
//   quarter of it takes those. One that gains less than those, but 2 %, does so once its rows take 0.9 of its instances' time
//   one by one, or its oldest row has waited for a quarter of its objective.
#include <algorithm>
#include <chrono>

#include "batching/policy/auto_policy.h"
#include "batching/policy/gate.h"
#include "batching/policy/hold.h"
#include "batching/policy/policies.h"

namespace evenkeel::policy {
namespace {

using namespace std::chrono_literals;

constexpr Duration kRefresh = 500ms;   // at most twice a second
constexpr Duration kRateSpan = 500ms;  // prices are steered by half a second and longer
constexpr double kFill = 0.95;         // of the cores: beyond that queues grow without need
constexpr double kPressed = 0.25;      // urgency from which the last percents count
constexpr double kPressedSlack = 1.005;
// A model that gains between two and five percent runs row by row (its rows come back sooner) as long as its instances keep up like that.
constexpr double kHelpsSlack = 1.02;
constexpr double kStrained = 0.9;  // of what they can do so
constexpr double kReach = 0.45;    // of an objective: two batches, and a tenth for the rest
// A model's habit is the mean of what it wanted over so many looks, half a second apart; ten times as many while not
// everything fits, so that a flood does not soon pass for a habit.
constexpr int kHabitLooks = 60;
constexpr int kHabitLooksCrowded = 600;
constexpr int kFirstLooks = 4, kFewLooks = 20;
// Near the edge a burst is served beyond its share, from what the others leave for a moment. Shares bind the more, the more is
// wanted beyond what there is; from this part of it on wholly.
constexpr double kBound = 0.15;
// Each model is entitled to this part of an even share, whatever it is used to; to the whole of it as long as it wants no more than it
// is granted: admission asks what a burst that begins now can count on, not what the model made do with.
constexpr double kLeastPart = 0.25;
constexpr double kSaving = 3;  // mean times to fill that are waited for under `power: save`

}  // namespace

Decision AutoPolicy::Decide(const NodeView& node, Time now) {
  if (now >= refresh_at_ || models_.size() != node.models.size()) Refresh(node, now);
  if (price_ > 0 && !node.save_power && !given_price_ && guard_.Tick(node, steering_, now)) {
    guarded_ = true;
    SetPrice(node, 0);
  }
  Decision waits;
  Gate gate(node);
  if (!gate.open()) return waits;
  for (size_t m = 0; m < node.models.size(); ++m) {
    const int first = NextLane(node.models[m]);
    if (first < 0) continue;
    Time look_again = OfferLane(node, m, first, now, &gate);
    // Rows that are held back do not hide those of another shape.
    const int lanes = static_cast<int>(node.models[m].lanes.size());
    for (int lane = 0; look_again != kNever && lane < lanes; ++lane) {
      if (lane == first || node.models[m].lanes[static_cast<size_t>(lane)].waiting_rows <= 0)
        continue;
      look_again = std::min(look_again, OfferLane(node, m, lane, now, &gate));
    }
    waits.wake_at = std::min(waits.wake_at, look_again);
  }
  const Decision picked = gate.Pick();
  if (!picked.start) return waits;
  const auto m = static_cast<size_t>(picked.model);
  const ModelView& model = node.models[m];
  const InstanceView& instance = model.instances[static_cast<size_t>(picked.instance)];
  if (bound_ > 0 && instance.device == DeviceClass::kCpu) {
    const int threads = std::min(instance.threads, node.cores);
    const double takes = threads * Seconds(model.curve->Mean(static_cast<int>(picked.rows)));
    accounts_[m].used_s += takes;
    if (accounts_[m].wants_more) used_s_ += takes;
  }
  return picked;
}

// When to look again if its rows are to wait; kNever: they were offered, or nothing but a completion lets them start.
Time AutoPolicy::OfferLane(const NodeView& node, size_t m, int lane, Time now, Gate* gate) const {
  const ModelView& model = node.models[m];
  const LaneView& view = model.lanes[static_cast<size_t>(lane)];
  const auto [instance, look_again] = PlaceBatch(model, models_[m].classes, view, *gate, now);
  if (instance < 0) return look_again;
  const double age = Urgency(view, model.objective, now);
  const bool on_device = model.instances[static_cast<size_t>(instance)].device == DeviceClass::kGpu;
  Decision candidate =
      on_device ? CloseOnDevice(model, models_[m], view) : Close(model, models_[m], view, age, now);
  if (candidate.wake_at != kNever) return candidate.wake_at;
  candidate.model = static_cast<int>(m);
  candidate.lane = lane;
  candidate.instance = instance;
  const double urgency = age + bound_ * Seconds(Behind(node, m)) / Seconds(model.objective);
  gate->Offer(candidate, std::max(0.0, urgency));
  return kNever;
}

void AutoPolicy::Forget(int index) {
  if (index < static_cast<int>(models_.size())) models_[static_cast<size_t>(index)] = State();
  if (index < static_cast<int>(habits_.size())) habits_[static_cast<size_t>(index)] = Habit();
  refresh_at_ = Time{};
}

ModelOutlook AutoPolicy::Outlook(int index) const {
  ModelOutlook outlook;
  if (index >= static_cast<int>(models_.size())) return outlook;
  const State& state = models_[static_cast<size_t>(index)];
  outlook.knee = state.knee;
  outlook.most = state.most;
  outlook.stretch = state.stretch;
  outlook.device_knee = state.classes.gpu;
  outlook.device_first = state.classes.gpu_first;
  if (outlook.device_first) outlook.device_rows_s = state.classes.first_rows_s;
  outlook.target = state.target;
  outlook.right_rows = state.target;
  outlook.price = price_;
  outlook.guarded = guarded_;
  outlook.rate_rps = state.rate_rps;
  return outlook;
}

double AutoPolicy::RateOf(const ModelView& model, Time now) const {
  return model.traffic->RatePerSecond(kRateSpan, now);
}

Time AutoPolicy::HeldUntil(const ModelView& model, const State& state, const LaneView& lane,
                           Time now) const {
  HoldInput in;
  in.waiting_rows = lane.waiting_rows;
  in.oldest_arrival = lane.oldest_arrival;
  in.deadline = SoftDeadline(lane, model.objective);
  in.last_arrival = model.traffic->last_arrival();
  in.target = state.target;
  in.rate_rps = HoldRate(model, state, now);
  in.core_wait = state.core_wait;
  if (save_power_) in.stretch = kSaving;
  return HoldEnd(in, *model.curve, now);
}

// Of the time in which some tens of rows come, at most half a second: a hold has to see that the flow has changed since Refresh().
double AutoPolicy::HoldRate(const ModelView& model, const State& state, Time now) const {
  constexpr double kRows = 32;
  Duration span = kRateSpan;
  if (state.rate_rps * Seconds(kRateSpan) > kRows)
    span = Duration(static_cast<int64_t>(kRows / state.rate_rps * 1e9));
  const double recent = model.traffic->RatePerSecond(span, now);
  return recent > 0 ? recent : state.rate_rps;
}

// A candidate's rows and reason; or until when it is held, as wake_at.
Decision AutoPolicy::Close(const ModelView& model, const State& state, const LaneView& lane,
                           double urgency, Time now) const {
  Decision decision;
  const bool behind = !shared_ || urgency > kPressed || lane.waiting_rows >= 2 * state.knee;
  // What overflows an accelerator was weighed at the knee.
  int size = behind && !state.classes.gpu_first ? state.most : state.knee;
  if (urgency > kPressed && !state.classes.gpu_first) size = std::max(size, state.resort);
  const int cap = state.knee == 0 ? lane.max_rows : std::min(size, lane.max_rows);
  decision.rows = std::min<int64_t>(lane.waiting_rows, cap);
  if (lane.waiting_rows >= cap) {
    decision.reason = CloseReason::kFull;
  } else if (model.draining) {
    decision.reason = CloseReason::kDrain;
  } else if (price_ <= 0 || state.knee == 0 || state.classes.gpu_first) {
    // What overflows an accelerator has waited for it already.
    decision.reason = CloseReason::kIdle;
  } else if (lane.waiting_rows >= state.target) {
    decision.reason = CloseReason::kWorth;
  } else {
    const Time end = HeldUntil(model, state, lane, now);
    decision.reason = CloseReason::kDeadline;
    if (end > now) decision.wake_at = end;
  }
  return decision;
}

Decision AutoPolicy::CloseOnDevice(const ModelView& model, const State& state,
                                   const LaneView& lane) {
  const int knee = state.classes.gpu;
  const int cap = std::min(knee > 0 ? knee : model.device_max_batch, lane.max_rows);
  Decision decision;
  decision.rows = std::min<int64_t>(lane.waiting_rows, cap);
  decision.reason = lane.waiting_rows >= cap ? CloseReason::kFull
                    : model.draining         ? CloseReason::kDrain
                                             : CloseReason::kIdle;
  return decision;
}

// On a slow machine the best sizes may take longer than a quarter of an objective. Where rows are much cheaper there, who can't keep up takes
// them as long as there is time for the batch before and the own one: late by a little is better than later and later.
int AutoPolicy::Farther(const ModelView& model, int size, Duration objective) {
  const auto row_s = [&](int n) { return Seconds(model.curve->Mean(n)) / n; };
  const Duration reach(static_cast<int64_t>(kReach * static_cast<double>(objective.count())));
  const int far = Knee(*model.curve, model.max_batch, reach, kPressedSlack);
  return far > size && row_s(far) * kKneeSlack < row_s(size) ? far : size;
}

// Rows in batches of the knee take nearly all the time that the instances have.
bool AutoPolicy::Strained(const NodeView& node, const ModelView& model, const State& state) {
  const double row_s = Seconds(model.curve->Mean(state.knee)) / state.knee;
  const double at_once =
      std::min(static_cast<double>(model.instances.size()),
               (node.cores - node.standing_share) / std::max(1, CpuThreads(model)));
  return state.rate_rps * row_s > kStrained * at_once;
}

void AutoPolicy::Refresh(const NodeView& node, Time now) {
  refresh_at_ = now + kRefresh;
  models_.resize(node.models.size());
  Duration shortest = Duration::max();
  int threads = 0;
  for (const ModelView& model : node.models) {
    if (model.device != DeviceClass::kGpu) shortest = std::min(shortest, model.objective);
    for (const InstanceView& instance : model.instances) threads += instance.threads;
  }
  targets_.assign(models_.size(), TargetCurve());
  for (size_t i = 0; i < models_.size(); ++i) {
    const ModelView& model = node.models[i];
    State& state = models_[i];
    state = State();
    state.classes = KneesOf(model, 0);
    if (state.classes.gpu > 0 && model.traffic != nullptr) {
      model.traffic->AdvanceTo(now);
      state.rate_rps = RateOf(model, now);
    }
    if (model.curve == nullptr || model.curve->empty() || model.traffic == nullptr ||
        model.instances.empty())
      continue;
    model.traffic->AdvanceTo(now);
    state.knee = Knee(*model.curve, model.max_batch, shortest / 4,
                      node.save_power ? kPressedSlack : kKneeSlack);
    state.most = state.knee;
    // Where batching does not help, the last half percent is scatter. What takes all cores holds up the others, too.
    const bool alone_on_cores = CpuThreads(model) < node.cores || node.models.size() == 1;
    const Duration longest = (alone_on_cores ? model.objective : shortest) / 4;
    state.rate_rps = RateOf(model, now);
    if (Knee(*model.curve, model.max_batch, longest, kHelpsSlack) > 1) {
      state.resort = Knee(*model.curve, model.max_batch, longest, kPressedSlack);
      const bool helps = Knee(*model.curve, model.max_batch, longest) > 1;
      if (helps || Strained(node, model, state)) state.most = std::max(state.knee, state.resort);
      if (alone_on_cores)
        state.resort = Farther(model, state.resort, std::min(model.objective, shortest));
    }
    state.classes = KneesOf(model, state.knee);
    // Cores are wanted for what an accelerator leaves.
    const double on_cores = state.classes.gpu_first
                                ? std::max(0.0, state.rate_rps - kFill * state.classes.first_rows_s)
                                : state.rate_rps;
    targets_[i] = TargetCurve(*model.curve, state.knee, std::min(CpuThreads(model), node.cores),
                              on_cores, model.objective);
  }
  save_power_ = node.save_power;
  // Where every instance has a core of its own, none gains by waiting for others.
  shared_ = threads > node.cores - node.standing_share;
  const double price = given_price_      ? *given_price_
                       : node.save_power ? kPriceMax
                       : shared_ ? LeastPrice(targets_, (node.cores - node.standing_share) * kFill)
                                 : 0;
  ShareOut(node);
  guarded_ = price_ <= 0 && guard_.Idle(now);
  SetPrice(node, guarded_ && !node.save_power ? 0 : price);
}

void AutoPolicy::SetPrice(const NodeView& node, double price) {
  price_ = price;
  steering_.resize(models_.size());
  for (size_t i = 0; i < models_.size(); ++i) {
    State& state = models_[i];
    state.target = targets_[i].TargetAt(price_);
    state.core_wait = shared_ ? LongestOther(node, i) : Duration();
    steering_[i] = {state.knee, state.target, state.rate_rps};
  }
}

// What each model can count on, by what it wants now and what it is used to.
void AutoPolicy::ShareOut(const NodeView& node) {
  habits_.resize(models_.size());
  accounts_.resize(models_.size());
  std::vector<CoreDemand> demands(models_.size());
  double wanted = 0;
  int wanting = 0;
  for (size_t i = 0; i < models_.size(); ++i) {
    for (const InstanceView& instance : node.models[i].instances)
      demands[i].most += std::min(instance.threads, node.cores);
    demands[i].most = std::min<double>(demands[i].most, node.cores);
    demands[i].wanted = targets_[i].DemandAt(kPriceMax);
    wanted += demands[i].wanted;
    if (demands[i].wanted > 0) ++wanting;
  }
  const double cores = node.cores - node.standing_share;
  for (size_t i = 0; i < models_.size(); ++i) {
    Habit& habit = habits_[i];
    if (demands[i].wanted > 0 || habit.looks > 0) ++habit.looks;
    // The first looks see rates of less than a second.
    const double looks = wanted > cores ? kHabitLooksCrowded : std::min(habit.looks, kHabitLooks);
    const int over = std::max(1, habit.looks - kFirstLooks);
    // More than there is is no claim.
    const double claimed = std::min(demands[i].wanted, cores);
    habit.cores += (claimed - habit.cores) / (over < kFewLooks ? over : looks);
    const double least = kLeastPart * cores / std::max(1, wanting);
    demands[i].weight = std::max(habit.cores, least);
  }
  const auto shares = ShareCores(demands, cores);
  for (size_t i = 0; i < models_.size(); ++i) {
    const bool wants_more = demands[i].wanted > shares[i].granted;
    accounts_[i] = {Behind(node, i), shares[i].counted_on, wants_more, 0};
  }
  used_s_ = granted_ = 0;
  const double bound = std::clamp((wanted / cores - 1) / kBound, 0.0, 1.0);
  for (size_t i = 0; i < models_.size(); ++i) {
    if (accounts_[i].wants_more) granted_ += shares[i].counted_on;
    const double even = accounts_[i].wants_more ? 0 : cores / std::max(1, wanting);
    const double counted_on = std::max(shares[i].counted_on, std::min(demands[i].most, even));
    if (counted_on <= 0) continue;
    models_[i].stretch += bound * std::max(0.0, demands[i].most / counted_on - 1);
  }
  bound_ = bound;
}

// How long the model has had less than its share, by the clock of those that want more than theirs: at most an objective either
// way. One that wants less runs ahead of that clock, so that its bursts are served first. 0 while everything fits.
Duration AutoPolicy::Behind(const NodeView& node, size_t i) const {
  if (bound_ <= 0 || i >= accounts_.size() || accounts_[i].share <= 0 || granted_ <= 0) return {};
  const Account& account = accounts_[i];
  const double most = Seconds(node.models[i].objective);
  const double behind =
      Seconds(account.carried) + used_s_ / granted_ - account.used_s / account.share;
  return Duration(static_cast<int64_t>(std::clamp(behind, -most, most) * 1e9));
}

// A core may be kept from model `i` for one batch of another one.
Duration AutoPolicy::LongestOther(const NodeView& node, size_t i) const {
  Duration longest{};
  for (size_t j = 0; j < models_.size(); ++j) {
    if (j == i || models_[j].knee == 0 || models_[j].classes.gpu_first || models_[j].rate_rps <= 0)
      continue;
    longest = std::max(longest, node.models[j].curve->P99(models_[j].knee));
  }
  return longest;
}

std::unique_ptr<NodePolicy> MakeAuto(const PolicySettings& settings) {
  return std::make_unique<AutoPolicy>(settings.price);
}

}  // namespace evenkeel::policy
