#include "batching/dispatcher.h"

#include <algorithm>
#include <utility>

#include "batching/dispatcher_internal.h"
#include "batching/gather.h"
#include "batching/row_check.h"
#include "core/check.h"
#include "core/format.h"

namespace evenkeel {
namespace {

using namespace std::chrono_literals;

constexpr int64_t kDefaultQueueRows = 10'000;
constexpr int64_t kDefaultQueueBytes = 256ll << 20;

double Milliseconds(Duration d) { return Seconds(d) * 1e3; }

// As the window wants them.
DispatcherOptions WithSortedSizes(DispatcherOptions options) {
  std::ranges::sort(options.batching.preferred_sizes);
  return options;
}

}  // namespace

Dispatcher::Dispatcher(DispatcherOptions options, EventLoop& loop, const Clock& clock)
    : options_(WithSortedSizes(std::move(options))),
      loop_(loop),
      clock_(clock),
      window_{options_.batching.policy, options_.batching.max_delay,
              options_.batching.preferred_sizes},
      gated_(options_.node != nullptr && options_.batching.policy == BatchingPolicy::kAuto),
      node_id_(options_.node != nullptr ? options_.node->Join(this) : -1),
      max_batch_(options_.signature.batched ? std::max(1, options_.signature.max_batch) : 1),
      part_limit_(max_batch_),
      queue_(!RowShapesFixed(options_.signature)),
      alarm_(loop.MakeAlarm([this] { OnAlarm(); })) {
  if (options_.batching.max_queue_rows == 0) options_.batching.max_queue_rows = kDefaultQueueRows;
  if (options_.batching.max_queue_bytes == 0)
    options_.batching.max_queue_bytes = kDefaultQueueBytes;
}

Dispatcher::~Dispatcher() {
  EK_CHECK(open_requests_ == 0);
  EK_CHECK(instances_.empty());
  if (node_id_ >= 0) options_.node->Leave(node_id_);
}

void Dispatcher::Refuse(InferCall* call, const Status& status) {
  {
    const std::lock_guard lock(mutex_);
    ++stats_.requests[static_cast<size_t>(status.code())];
    stats_.fail.Add(clock_.Now() - call->arrived);
    if (status.code() == Code::kOverloaded) ++stats_.sheds;
  }
  call->Done(status, {}, {});
}

void Dispatcher::Infer(InferCall* call) {
  const auto rows = CheckCall(options_.model, options_.signature, *call);
  if (!rows.ok()) return Refuse(call, rows.status());
  if (options_.on_inputs) options_.on_inputs(call->inputs, *rows);
  auto request = MakeRequest(call, *rows);
  last_arrival_.store(call->arrived.time_since_epoch().count(), std::memory_order_relaxed);
  if (node_id_ >= 0) options_.node->Arrived(node_id_, *rows, clock_.Now());

  Actions actions;
  Status refusal;
  {
    const std::lock_guard lock(mutex_);
    const Time now = clock_.Now();
    if (gated_) outlook_ = options_.node->Window(node_id_);
    refusal = Admit(*request, now);
    if (refusal.ok()) {
      ++open_requests_;
      Request* queued = request.release();  // the dispatcher's until Settle
      call->scheduler_state = queued;
      queue_.Add(*queued, options_.signature.batched);
      Plan(now, &actions);
    }
  }
  if (!refusal.ok()) return Refuse(call, refusal);
  Execute(&actions);
}

std::unique_ptr<Request> Dispatcher::MakeRequest(InferCall* call, int64_t rows) const {
  auto request = std::make_unique<Request>();
  request->call = call;
  request->rows = rows;
  request->priority =
      std::clamp(call->priority > 0 ? call->priority : options_.default_priority, 1, kPriorities);
  for (const TensorView& view : call->inputs) request->bytes += view.data.size();
  const int limit = options_.signature.batched ? part_limit_.load(std::memory_order_relaxed) : 1;
  // Beyond any queue: Admit refuses it by its rows, so it need not be cut.
  if (rows > options_.batching.max_queue_rows) return request;
  request->parts.resize(static_cast<size_t>((rows + limit - 1) / limit));
  int64_t first = 0;
  for (Part& part : request->parts) {
    part.request = request.get();
    part.first_row = first;
    part.rows = static_cast<int>(std::min<int64_t>(limit, rows - first));
    first += part.rows;
  }
  CutInputs(*request);
  return request;
}

Status Dispatcher::Admit(Request& request, Time now) {
  const BatchingConfig& limits = options_.batching;
  if (draining_) return Unavailable("model '{}' is being unloaded", options_.model);
  if (!unavailable_.ok()) return unavailable_;
  if (request.rows > limits.max_queue_rows) {
    return TooLarge("model '{}': expected at most {} rows in a request, got {}", options_.model,
                    limits.max_queue_rows, request.rows);
  }
  if (static_cast<int64_t>(request.bytes) > limits.max_queue_bytes) {
    return TooLarge("model '{}': expected at most {} bytes in a request, got {}", options_.model,
                    limits.max_queue_bytes, request.bytes);
  }
  for (const Part& part : request.parts) {
    if (part.bytes > options_.input_capacity) {
      return TooLarge("model '{}': {} rows take {} bytes, a batch has room for {}", options_.model,
                      part.rows, part.bytes, options_.input_capacity);
    }
  }
  if (queue_.waiting_rows() + request.rows > limits.max_queue_rows ||
      queue_.waiting_bytes() + static_cast<int64_t>(request.bytes) > limits.max_queue_bytes) {
    return Overloaded("model '{}': the queue is full ({} rows, {} bytes wait)", options_.model,
                      queue_.waiting_rows(), queue_.waiting_bytes());
  }
  const Time deadline = request.call->deadline;
  if (deadline <= now)
    return DeadlineExceeded("model '{}': the deadline had passed on arrival", options_.model);
  const Duration whole = deadline == kNever ? 10 * Objective() : deadline - now;
  const Duration lag =
      options_.loop_lag == nullptr ? Duration::zero() : options_.loop_lag->Lag(now);
  const Duration way = policy::TimeOnTheWay(lag, whole);
  const Duration limit = whole - way;
  request.answer_by = deadline == kNever ? kNever : deadline - way;
  const policy::AdmissionView view = ViewFor(request, now);
  const Duration predicted = policy::PredictedAnswer(view);
  request.accepted = now;
  request.predicted = predicted;
  // Where nothing stands before it, it is worth a try.
  const Duration lateness =
      predicted > Duration::zero() ? prediction_error_.lateness(limit) : predicted;
  if (!policy::IsInTime(view, predicted, lateness, limit)) {
    if (predicted <= limit) prediction_error_.OnRefusal(Objective());
    return Overloaded(
        "model '{}': the answer is predicted in {:.0f} ms, the limit is {:.0f} ms; {} rows wait "
        "ahead, a batch of {} takes {:.1f} ms, times {:.1f} for what else runs, or {:.1f} ms in "
        "turn; answers came up to {:.1f} ms later lately, and {:.1f} ms more go on the way",
        options_.model, Milliseconds(predicted + lateness), Milliseconds(limit), view.rows_ahead,
        view.size, Milliseconds(view.batch_time), view.stretch, Milliseconds(view.turn),
        Milliseconds(lateness), Milliseconds(way));
  }
  return Status::Ok();
}

policy::AdmissionView Dispatcher::ViewFor(const Request& request, Time now) const {
  policy::AdmissionView view;
  int limit = 1;
  for (const auto& instance : instances_) {
    if (!instance->usable) continue;
    ++view.instances;
    limit = std::max(limit, MaxRows(*instance));
    view.running += RemainingOf(*instance, now);
  }
  view.rows_ahead = queue_.RowsAhead(request.priority);
  view.rows = request.rows;
  view.turn = turn_;
  view.stretch = SharedStretch();
  if (gated_) {
    const int most = std::max(outlook_.most, outlook_.device_knee);
    if (most > 0) limit = std::min(limit, most);
  }
  view.size = RowsWithin(request, limit);
  view.batch_time = MeanTime(view.size);
  return view;
}

Duration Dispatcher::RemainingOf(const Instance& instance, Time now) const {
  Duration remaining{};
  for (const auto& batch : instance.inflight) {
    const Duration gone =
        batch->front_since == kNever ? Duration::zero() : now - batch->front_since;
    remaining += std::max(Duration::zero(), TimesOf(instance).Estimate(batch->run_rows) - gone);
  }
  return remaining;
}

// Shares are of cores: where there is an accelerator they say little of when an answer comes.
double Dispatcher::SharedStretch() const {
  return gated_ && options_.device == DeviceClass::kCpu ? outlook_.stretch : 1;
}

// Sizes are halved, since powers of two are measured first.
int Dispatcher::RowsWithin(const Request& request, int most) const {
  if (request.answer_by == kNever) return most;
  const Duration longest = policy::LongestBatch(request.answer_by - request.call->arrived);
  while (most > 1 && Estimate(most) > longest) most /= 2;
  return most;
}

Duration Dispatcher::objective() const {
  const std::lock_guard lock(mutex_);
  return Objective();
}

Duration Dispatcher::Objective() const {
  return options_.objective.value_or(std::max<Duration>(50ms, 10 * Estimate(1)));
}

const BatchTimes& Dispatcher::TimesOf(const Instance& instance) const {
  return instance.device == DeviceClass::kGpu ? stats_.device_times : stats_.times;
}

Duration Dispatcher::MeanTime(int rows) const {
  if (stats_.device_times.entries().empty()) return stats_.times.Estimate(rows);
  double batches_per_ns = 0;
  int usable = 0;
  for (const auto& instance : instances_) {
    const Duration each = TimesOf(*instance).Estimate(rows);
    if (!instance->usable || each <= Duration::zero()) continue;
    ++usable;
    batches_per_ns += 1 / static_cast<double>(each.count());
  }
  return usable == 0 ? Duration() : Duration(static_cast<int64_t>(usable / batches_per_ns));
}

Duration Dispatcher::Estimate(int rows) const {
  if (stats_.device_times.entries().empty()) return stats_.times.Estimate(rows);
  const Duration on_device = stats_.device_times.Estimate(rows);
  if (stats_.times.entries().empty()) return on_device;
  // A class without instances serves nobody, however fast it was.
  bool device = false, host = false;
  for (const auto& instance : instances_) {
    if (instance->usable) (instance->device == DeviceClass::kGpu ? device : host) = true;
  }
  if (device != host) return device ? on_device : stats_.times.Estimate(rows);
  return std::min(on_device, stats_.times.Estimate(rows));
}

void Dispatcher::Cancel(InferCall* call) {
  Actions actions;
  {
    const std::lock_guard lock(mutex_);
    auto* request = static_cast<Request*>(call->scheduler_state);
    if (request == nullptr) return;
    FailRequest(request, Cancelled("the client went away"), &actions);
    Plan(clock_.Now(), &actions);
  }
  Execute(&actions);
}

void Dispatcher::SetUnavailable(Status why) {
  Actions actions;
  {
    const std::lock_guard lock(mutex_);
    unavailable_ = std::move(why);
    if (!unavailable_.ok()) {
      while (!queue_.empty()) {
        FailRequest(queue_.lanes().front()->head()->request, unavailable_, &actions);
      }
      // A request may have several parts here: they end together, and each once.
      while (!retries_.empty()) {
        FailRequest(retries_.back()->parts.front()->request, unavailable_, &actions);
      }
      Plan(clock_.Now(), &actions);
    }
  }
  Execute(&actions);
}

void Dispatcher::Drain(std::function<void()> done) {
  Actions actions;
  {
    const std::lock_guard lock(mutex_);
    draining_ = true;
    drained_ = std::move(done);
    Plan(clock_.Now(), &actions);
  }
  Execute(&actions);
}

void Dispatcher::Close() {
  std::unique_ptr<Alarm> alarm;
  const std::lock_guard lock(mutex_);
  alarm.swap(alarm_);
}

void Dispatcher::Seed(std::span<const policy::BatchCurve::Timed> times, DeviceClass device) {
  if (times.empty()) return;
  const std::lock_guard lock(mutex_);
  BatchTimes& live = device == DeviceClass::kGpu ? stats_.device_times : stats_.times;
  live = BatchTimes();
  for (const auto& timed : times) live.Set(timed.rows, timed.mean);
  if (node_id_ >= 0) options_.node->Seed(node_id_, device, times);
}

std::optional<NodeScheduler::Outlook> Dispatcher::Outlook() const {
  if (!gated_) return std::nullopt;
  return options_.node->OutlookOf(node_id_);
}

Dispatcher::Demand Dispatcher::DemandNow(Duration horizon, Duration recent) const {
  Demand demand;
  if (node_id_ >= 0) demand.load = options_.node->DemandOf(node_id_, horizon, recent);
  const std::lock_guard lock(mutex_);
  demand.has_work = open_requests_ > 0;
  // Its own rule never puts requests together.
  if (options_.batching.policy == BatchingPolicy::kNone) {
    demand.load.batch_rows = 1;
    demand.load.batch_time = stats_.times.Estimate(1);
  }
  return demand;
}

ModelStats Dispatcher::Stats() const {
  const std::lock_guard lock(mutex_);
  ModelStats copy = stats_;
  copy.waiting_rows = queue_.waiting_rows();
  copy.waiting_bytes = queue_.waiting_bytes();
  for (const auto& instance : instances_)
    copy.running_batches += static_cast<int>(instance->inflight.size());
  return copy;
}

}  // namespace evenkeel
