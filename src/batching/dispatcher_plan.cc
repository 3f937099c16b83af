// What starts now: retries first, then warm-ups, then what the window says. Everything here runs under the mutex.
#include <algorithm>
#include <utility>

#include "batching/dispatcher.h"
#include "batching/dispatcher_internal.h"
#include "core/check.h"
#include "core/format.h"

namespace evenkeel {
namespace {

using namespace std::chrono_literals;

// Lanes looked at for one decision: with more shapes than this waiting, they take turns (RowQueue::Remove).
constexpr int kLanesConsidered = 64;

}  // namespace

void Dispatcher::Plan(Time now, Actions* actions) {
  DropDue(now, actions);
  Time wake = queue_.earliest_deadline();
  for (const auto& batch : retries_) {
    for (const Part* part : batch->parts) wake = std::min(wake, part->request->answer_by);
  }
  // Idle instances first: a second batch lies ready behind a running one only when none is free.
  for (const bool idle : {true, false}) {
    for (const auto& instance : instances_) {
      if (instance->channel == nullptr) continue;
      while (instance->inflight.empty() == idle && instance->channel->free_slots() > 0) {
        if (StartWarm(*instance, now, actions)) continue;
        if (!instance->usable) break;
        if (StartRetry(*instance, now, actions)) continue;
        if (gated_ && (idle || !MayLieReady(*instance))) break;  // the node decides: StartBatch()
        if (!StartFromLanes(*instance, now, actions, &wake)) break;
      }
    }
  }
  for (const auto& instance : instances_) {
    for (const auto& batch : instance->inflight) {
      const bool runs = batch->front_since != kNever;
      wake = std::min(wake, runs ? batch->front_since + HangLimit(*instance, *batch) : batch->due);
    }
  }
  for (const auto& instance : instances_) TellRetired(*instance, actions);
  TellStarved(actions);
  ArmAlarm(wake);
  if (node_id_ >= 0) PublishToNode(now);
  if (draining_ && open_requests_ == 0 && drained_) {
    actions->calls.push_back([this, done = std::exchange(drained_, nullptr)] { loop_.Post(done); });
  }
}

// Results are read from the channel's memory until their slots are released.
void Dispatcher::TellRetired(Instance& instance, Actions* actions) {
  if (!instance.on_retired || instance.channel->free_slots() < static_cast<int>(ipc::kSlots))
    return;
  actions->calls.push_back(
      [this, done = std::exchange(instance.on_retired, nullptr)] { loop_.Post(done); });
}

void Dispatcher::TellStarved(Actions* actions) {
  const auto stays = [](const auto& instance) { return !instance->retired; };
  const bool waits = !queue_.empty() || !retries_.empty();
  if (!waits) starved_ = false;
  if (starved_ || !waits || !options_.on_starved || std::ranges::any_of(instances_, stays)) return;
  starved_ = true;
  actions->calls.push_back(options_.on_starved);
}

void Dispatcher::DropDue(Time now, Actions* actions) {
  while (queue_.earliest_deadline() <= now) {
    Request* request = queue_.first_due()->request;
    FailRequest(request, WaitedTooLong(*request, now), actions);
  }
  while (const Part* part = FirstDueRetry(now)) {
    FailRequest(part->request, WaitedTooLong(*part->request, now), actions);
  }
  for (const auto& instance : instances_) {
    for (const auto& batch : instance->inflight) DropDueIn(*batch, now, actions);
  }
}

// What lies ready waits for the batch before it, which may take longer than foreseen, or hang. What runs is waited for.
void Dispatcher::DropDueIn(Batch& batch, Time now, Actions* actions) {
  if (batch.front_since != kNever || batch.due > now) return;
  batch.due = kNever;
  for (const Part* part : batch.parts) {
    Request* request = part->request;
    if (!request->failure.ok()) continue;
    if (request->answer_by > now) {
      batch.due = std::min(batch.due, request->answer_by);
      continue;
    }
    FailRequest(request, WaitedTooLong(*request, now), actions);
  }
}

// Its batch would have to be back by now: before the deadline itself where answers are long on the way.
Status Dispatcher::WaitedTooLong(const Request& request, Time now) const {
  if (request.call->deadline <= now) {
    return DeadlineExceeded("model '{}': the deadline passed while the request waited",
                            options_.model);
  }
  return DeadlineExceeded("model '{}': the deadline can no longer be met", options_.model);
}

Part* Dispatcher::FirstDueRetry(Time now) const {
  for (const auto& batch : retries_) {
    for (Part* part : batch->parts) {
      if (part->request->answer_by <= now) return part;
    }
  }
  return nullptr;
}

bool Dispatcher::StartRetry(Instance& instance, Time now, Actions* actions) {
  if (retries_.empty()) return false;
  auto batch = std::move(retries_.back());
  retries_.pop_back();
  for (Part* part : batch->parts) {
    part->state = Part::State::kTaken;
    ++part->request->parts_read;
  }
  Launch(instance, std::move(batch), now, actions);
  return true;
}

policy::SlotView Dispatcher::SlotOf(const Instance& instance, const policy::LaneView& lane) const {
  policy::SlotView slot;
  slot.idle = instance.inflight.empty();
  slot.draining = draining_;
  slot.others_wait = queue_.lanes().size() > 1;
  if (gated_ || lane.earliest_deadline == kNever) return slot;  // T is asked for by deadlines alone
  const int rows = static_cast<int>(std::min<int64_t>(lane.waiting_rows, lane.max_rows));
  if (node_id_ >= 0) {
    const auto time = options_.node->TimeOf(node_id_, instance.device, rows);
    slot.mean_time = time.mean;
    slot.p99_time = time.p99;
  } else {
    slot.mean_time = TimesOf(instance).Estimate(rows);
  }
  return slot;
}

bool Dispatcher::StartFromLanes(Instance& instance, Time now, Actions* actions, Time* wake) {
  Lane* best = nullptr;
  policy::LaneView best_view;
  policy::Closing best_closing;
  int considered = 0;
  for (Lane* lane : queue_.lanes()) {
    if (++considered > kLanesConsidered) break;
    policy::LaneView view = queue_.View(*lane);
    view.max_rows = RowsWithin(*lane->head()->request, MaxRows(instance));
    if (gated_) {
      const int full = RunRows(instance, FullSize(instance));
      view.max_rows = std::min(view.max_rows, full);
    }
    const policy::Closing closing = window_.Decide(view, SlotOf(instance, view), now);
    *wake = std::min(*wake, closing.wake_at);
    if (closing.rows <= 0) continue;
    if (best == nullptr || std::pair(view.priority, view.oldest_arrival) <
                               std::pair(best_view.priority, best_view.oldest_arrival)) {
      best = lane;
      best_view = view;
      best_closing = closing;
    }
  }
  if (best == nullptr) return false;
  int64_t rows = best_closing.rows;
  if (gated_) rows = FitToWarm(instance, static_cast<int>(rows), best_view.waiting_rows);
  return StartLane(instance, *best, rows, best_closing.reason, now, actions);
}

// True: a batch was started, or all of its rows were too late and are gone; look again.
bool Dispatcher::StartLane(Instance& instance, Lane& lane, int64_t rows, CloseReason reason,
                           Time now, Actions* actions) {
  auto batch = std::make_unique<Batch>();
  batch->reason = reason;
  batch->oldest_wait = now - queue_.View(lane).oldest_arrival;
  TakeParts(lane, rows, now + RemainingOf(instance, now), actions, batch.get());
  if (!batch->parts.empty()) Launch(instance, std::move(batch), now, actions);
  return true;
}

// `start` is when the batch comes to run.
void Dispatcher::TakeParts(Lane& lane, int64_t rows, Time start, Actions* actions, Batch* batch) {
  // It would be answered when the batch that is being formed is.
  const Duration soonest = Estimate(static_cast<int>(std::min<int64_t>(rows, lane.waiting_rows)));
  // The lane may vanish with its last part, so it is looked at only while something waits.
  int64_t left = lane.waiting_rows;
  while (left > 0) {
    Part* part = lane.head();
    const bool fits =
        batch->rows + part->rows <= rows && batch->bytes + part->bytes <= options_.input_capacity;
    if (!batch->parts.empty() && !fits) break;
    const Time deadline = part->request->answer_by;
    if (deadline != kNever && start + soonest > deadline) {
      const int64_t before = queue_.waiting_rows();
      FailRequest(part->request,
                  DeadlineExceeded("model '{}': the deadline can no longer be met", options_.model),
                  actions);
      left -= before - queue_.waiting_rows();
      continue;
    }
    left -= part->rows;
    queue_.Remove(*part);
    part->state = Part::State::kTaken;
    ++part->request->parts_read;
    batch->parts.push_back(part);
    batch->rows += part->rows;
    batch->bytes += part->bytes;
    if (batch->rows >= rows) break;
  }
}

void Dispatcher::Launch(Instance& instance, std::unique_ptr<Batch> batch, Time now,
                        Actions* actions) {
  batch->id = next_batch_++;
  batch->instance = &instance;
  batch->device = instance.device;
  batch->channel = instance.channel;
  if (!batch->parts.empty()) {
    // Padding repeats the last row, which is at most as large as the last part.
    const int run_rows = RunRows(instance, batch->rows);
    const size_t padding = static_cast<size_t>(run_rows - batch->rows) * batch->parts.back()->bytes;
    batch->run_rows = batch->bytes + padding <= options_.input_capacity ? run_rows : batch->rows;
  }
  for (Part* part : batch->parts) {
    if (part->request->taken_at == Time{}) part->request->taken_at = now;
    batch->due = std::min(batch->due, part->request->answer_by);
  }
  batch->closed = now;
  batch->lay_ready = !instance.inflight.empty();
  if (!batch->lay_ready) batch->front_since = now;
  batch->slot = instance.channel->Reserve();
  batch->arena = instance.channel->input_arena(batch->slot);
  bool& touched = instance.touched[batch->slot % ipc::kSlots];
  touched = touched || !batch->parts.empty();
  batch->untouched = !touched;
  instance.last_was_warm = batch->parts.empty();
  actions->gather.push_back(batch.get());
  ++instance.gathering;
  instance.inflight.push_back(std::move(batch));
}

Duration Dispatcher::HangLimit(const Instance& instance, const Batch& batch) const {
  // A warm-up may compile, which no limit of requests allows for; but once the instance serves, requests wait behind it.
  const bool warming = batch.parts.empty();
  const Duration least = !warming ? 10s : instance.usable ? 30s : 120s;
  if (options_.hang_timeout > Duration::zero()) {
    return warming ? std::max<Duration>(least, options_.hang_timeout) : options_.hang_timeout;
  }
  return std::max<Duration>(least, 50 * TimesOf(instance).Estimate(batch.run_rows));
}

void Dispatcher::ArmAlarm(Time wake) {
  if (wake >= armed_ || alarm_ == nullptr) return;  // it rings earlier and then looks again
  armed_ = wake;
  alarm_->Set(wake);
}

void Dispatcher::OnAlarm() {
  Actions actions;
  {
    const std::lock_guard lock(mutex_);
    armed_ = kNever;
    const Time now = clock_.Now();
    for (const auto& instance : instances_) {
      if (instance->inflight.empty()) continue;
      Batch& batch = *instance->inflight.front();
      if (batch.front_since == kNever || now < batch.front_since + HangLimit(*instance, batch))
        continue;
      batch.front_since = now;  // ask once a limit
      actions.calls.push_back([this, id = instance->id] {
        if (options_.on_hang) options_.on_hang(id);
      });
    }
    Plan(now, &actions);
  }
  Execute(&actions);
}

}  // namespace evenkeel
