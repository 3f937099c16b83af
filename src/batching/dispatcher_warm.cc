// Warming: every size that a batch may have is run before requests use it.
//
// Required sizes (1, 2, 4 ... and the largest) come before the model is ready, within a second; the others, and what the second
// was too short for, later. A warm-up holds up the instance, so then only runs that are short beside the objective are made.
// A size that takes longer than the objective is of no use: warming ends there. Where the last two sizes foretell it, it pauses
// before the size, until times seen in service foretell less.
#include <algorithm>
#include <iterator>
#include <utility>

#include "batching/dispatcher.h"
#include "batching/dispatcher_internal.h"
#include "batching/gather.h"
#include "core/log.h"

namespace evenkeel {
namespace {

using namespace std::chrono_literals;

constexpr Duration kBeforeReady = 1s;   // compute spent on warming before the model counts as ready
constexpr Duration kInAll = 3s;         // and on all of it
constexpr Duration kTooLongTwice = 5s;  // a run longer than this is not repeated for its time
constexpr int kMostRuns = 4;            // of one size

// A serving instance is held up by a warm-up for at most this part of the objective.
constexpr int kRequiredPart = 2;
constexpr int kOptionalPart = 10;
constexpr int kAwaitedPart =
    10;  // and requests that wait for the first instance, for all that is missing

}  // namespace

void Dispatcher::PlanWarming(Instance& instance, Actions* actions) {
  WarmPlan& plan = instance.plan;
  const Signature& signature = options_.signature;
  if (!RowShapesFixed(signature)) {
    plan.exact = true;
    return MakeUsable(instance, actions);
  }
  const auto fits = [&](int rows) {
    const auto bytes = WarmBytes(signature, rows);
    return bytes && *bytes <= options_.input_capacity;
  };
  if (!signature.batched) {
    plan.required = {1};
  } else if (const int64_t fixed = signature.inputs.front().shape[0]; fixed != kDynamic) {
    plan.required = {static_cast<int>(fixed)};
  } else {
    for (int rows = 1; rows <= instance.max_rows && fits(rows); ++rows) {
      const bool power = (rows & (rows - 1)) == 0;
      (power || rows == instance.max_rows ? plan.required : plan.optional).push_back(rows);
    }
  }
  if (plan.required.empty() || !fits(plan.required.front())) {
    plan.required.clear();
    plan.exact = true;
    MakeUsable(instance, actions);
  }
}

void Dispatcher::MakeUsable(Instance& instance, Actions* actions) {
  if (instance.usable) return;
  instance.usable = was_usable_ = true;
  PublishPartLimit();
  actions->calls.push_back([this, id = instance.id] {
    if (options_.on_warm) options_.on_warm(id, Status::Ok());
  });
}

bool Dispatcher::StartWarm(Instance& instance, Time now, Actions* actions) {
  WarmPlan& plan = instance.plan;
  if (!instance.inflight.empty()) return false;
  for (const auto* sizes : {&plan.required, &plan.optional}) {
    if (sizes->empty()) continue;
    const int rows = sizes->front();
    if (instance.usable && !MayHoldUp(instance, rows, sizes == &plan.required, now)) continue;
    if (std::exchange(plan.current, rows) != rows) plan.runs = 0;
    auto batch = std::make_unique<Batch>();
    batch->rows = batch->run_rows = rows;
    Launch(instance, std::move(batch), now, actions);
    return true;
  }
  return false;
}

// Whether an instance that serves may be kept busy with a warm-up now: whoever comes meanwhile waits for its end.
bool Dispatcher::MayHoldUp(const Instance& instance, int rows, bool required, Time now) const {
  if (draining_ || !retries_.empty()) return false;
  const WarmPlan& plan = instance.plan;
  const bool compiled = plan.current == rows && plan.runs > 0;
  const Duration run =
      TimesOf(instance).Estimate(rows) + (compiled ? Duration::zero() : plan.compilation);
  if (run > Objective() / (required ? kRequiredPart : kOptionalPart)) return false;
  if (queue_.empty()) return true;
  // More waits than one batch takes: larger batches are what is missing. But every other batch at most, and at no one's cost.
  return required && !instance.last_was_warm && queue_.waiting_rows() > MaxRows(instance) &&
         queue_.earliest_deadline() - now > 4 * run;
}

int Dispatcher::MaxRows(const Instance& instance) const {
  if (!options_.signature.batched) return 1;
  const WarmPlan& plan = instance.plan;
  return plan.exact || plan.warm.empty() ? instance.max_rows : *plan.warm.rbegin();
}

int Dispatcher::RunRows(const Instance& instance, int rows) const {
  if (!options_.signature.batched || instance.plan.exact) return rows;
  const auto at = instance.plan.warm.lower_bound(rows);
  return at == instance.plan.warm.end() ? rows : *at;
}

// The largest warm size of at most `rows`; 0: there is none.
int Dispatcher::WarmBelow(const Instance& instance, int rows) const {
  if (!options_.signature.batched || instance.plan.exact) return rows;
  const auto above = instance.plan.warm.upper_bound(rows);
  return above == instance.plan.warm.begin() ? 0 : *std::prev(above);
}

// Whoever waits for the first instance is not made to wait for sizes that others may need, unless they take next to nothing.
bool Dispatcher::Awaited(const Instance& instance) const {
  const auto is_usable = [](const auto& one) { return one->usable; };
  if (!was_usable_ || (queue_.empty() && retries_.empty()) ||
      std::ranges::any_of(instances_, is_usable)) {
    return false;
  }
  Duration rest{};
  for (const int rows : instance.plan.required) rest += TimesOf(instance).Estimate(rows);
  return rest > Objective() / kAwaitedPart;
}

void Dispatcher::PublishPartLimit() {
  int limit = 0;
  for (const auto& instance : instances_) {
    if (!instance->usable) continue;
    const int rows = MaxRows(*instance);
    limit = limit == 0 ? rows : std::min(limit, rows);
  }
  // While none is up, what the last one could do is the best guess.
  if (limit > 0) part_limit_.store(limit, std::memory_order_relaxed);
}

// The time of the size after those measured, along the line through the last two: work grows with the rows, overhead does not.
// One measurement gives no line: then the next size is found out by trying.
Duration Dispatcher::NextTime(const Instance& instance, int rows) const {
  const BatchTimes& times = TimesOf(instance);
  const auto& measured = times.entries();
  if (measured.empty() || rows <= measured.rbegin()->first) return times.Estimate(rows);
  const auto& [last, at_last] = *measured.rbegin();
  if (measured.size() == 1) return times.Estimate(last);
  const auto& [before, at_before] = *std::next(measured.rbegin());
  const double slope =
      std::max(0.0, (at_last.mean_ns - at_before.mean_ns) / static_cast<double>(last - before));
  return Duration(static_cast<int64_t>(at_last.mean_ns + slope * (rows - last)));
}

void Dispatcher::FinishWarm(Instance& instance, const Batch& batch,
                            const ipc::Completion& completion, Actions* actions) {
  WarmPlan& plan = instance.plan;
  if (!plan.Has(batch.rows)) return;  // being detached
  plan.spent += completion.compute;
  const auto scatter = Scatter::Create(options_.signature, completion.outputs, batch.run_rows);
  if (!completion.status.ok()) {
    actions->calls.push_back([this, rows = batch.rows, why = completion.status.ToString()] {
      LogWarning("model '{}': warming with {} rows failed: {}", options_.model, rows, why);
    });
    plan.DropFrom(0);
    // Zeros may be no input for it at all; then sizes are taken as they come.
    if (plan.warm.empty()) plan.exact = true;
  } else if (!scatter.ok() && !was_usable_ && options_.signature.batched) {
    // Only before the first request: from then on the signature is read without the mutex.
    actions->calls.push_back([this, why = std::string(scatter.status().message())] {
      LogWarning("model '{}' is served without batching: {}", options_.model, why);
    });
    options_.signature.batched = false;
    options_.signature.max_batch = 1;
    plan.DropFrom(0);
    plan.exact = true;
  } else {
    CountWarmRun(instance, batch.rows, completion.compute);
  }
  if (plan.spent > kInAll) plan.optional.clear();
  // The smallest size is in use whatever it takes.
  const bool some = plan.exact || !plan.warm.empty();
  const bool enough = Awaited(instance) || plan.required.empty() || plan.spent > kBeforeReady ||
                      NextTime(instance, plan.required.front()) > Objective();
  if (some && enough) MakeUsable(instance, actions);
  if (instance.usable) PublishPartLimit();
}

void Dispatcher::CountWarmRun(Instance& instance, int rows, Duration took) {
  WarmPlan& plan = instance.plan;
  // An earlier worker or another instance has told.
  BatchTimes& times = instance.device == DeviceClass::kGpu ? stats_.device_times : stats_.times;
  const bool known = times.entries().contains(rows);
  Duration time = times.Estimate(rows);
  if (++plan.runs == 1) plan.first_run = plan.best_run = took;
  if (!known) {
    if (plan.runs == 1 && took < kTooLongTwice) return;
    plan.best_run = plan.runs == 2 ? took : std::min(plan.best_run, took);
    // A disturbance must not cost the size, or those after it, for good; and of the smallest the objective is made.
    const bool odd = plan.warm.empty() ? plan.runs < 3 && plan.spent <= kBeforeReady
                                       : plan.best_run > std::min(Objective(), time + time / 4);
    if (odd && plan.runs < kMostRuns && took < kTooLongTwice) return;
    time = plan.best_run;
    times.Record(rows, time);
    if (node_id_ >= 0) options_.node->RanWarm(node_id_, instance.device, rows, time, clock_.Now());
  }
  plan.compilation = std::max(Duration::zero(), plan.first_run - time);
  if (!plan.warm.empty() && time > Objective()) return plan.DropFrom(rows);
  plan.warm.insert(rows);
  plan.Drop(rows);
}

}  // namespace evenkeel
