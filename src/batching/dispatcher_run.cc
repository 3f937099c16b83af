// Batches in flight: filled, collected, answered; failures cut down to the guilty requests.
#include <algorithm>
#include <cstring>
#include <utility>

#include "batching/dispatcher.h"
#include "batching/dispatcher_internal.h"
#include "batching/gather.h"
#include "core/check.h"
#include "core/format.h"
#include "core/log.h"

namespace evenkeel {
namespace {

constexpr Duration kWakeUp =
    std::chrono::microseconds(100);            // what waking a sleeping core may cost
constexpr Duration kShortBatch = 5 * kWakeUp;  // a longer one hides what the wake-up costs
constexpr uint8_t kKillsAllowed = 2;           // workers that may die of one request

// Keeps a split request's rows until its last part is there: the batch's memory is needed for others.
void Keep(Part& part, std::span<const TensorView> views) {
  part.outputs.assign(views.begin(), views.end());
  part.output_bytes.resize(views.size());
  for (size_t i = 0; i < views.size(); ++i) {
    part.output_bytes[i].assign(views[i].data.begin(), views[i].data.end());
    part.outputs[i].data = part.output_bytes[i];
  }
}

// That the rows of every part are there, before any request counts as answered.
Status CheckOutputs(const Signature& signature, std::span<const TensorView> outputs, int run_rows,
                    std::span<Part* const> parts) {
  auto scatter = Scatter::Create(signature, outputs, run_rows);
  if (!scatter.ok()) return scatter.status();
  const auto lengths_vary = [](const TensorView& view) { return view.dtype == DataType::kBytes; };
  if (std::ranges::none_of(outputs, lengths_vary)) return Status::Ok();
  std::vector<TensorView> views;
  for (const Part* part : parts) EK_RETURN_IF_ERROR(scatter->Next(part->rows, &views));
  return Status::Ok();
}

// Rows that the model gave different shapes do not make one tensor.
Status CheckJoined(const Request& request, const Signature& signature) {
  const auto& first = request.parts.front().outputs;
  for (const Part& part : request.parts) {
    for (size_t i = 0; request.parts.size() > 1 && i < first.size(); ++i) {
      if (part.outputs[i].shape.Tail() == first[i].shape.Tail()) continue;
      return Internal("output '{}': parts of the request have shapes {} and {}",
                      signature.outputs[i].name, first[i].shape.ToString(),
                      part.outputs[i].shape.ToString());
    }
  }
  return Status::Ok();
}

}  // namespace

Dispatcher::Instance* Dispatcher::Find(int id) const {
  for (const auto& instance : instances_) {
    if (instance->id == id) return instance.get();
  }
  return nullptr;
}

void Dispatcher::Attach(int id, ipc::Channel* channel, int threads, int max_rows,
                        DeviceClass device) {
  Actions actions;
  {
    const std::lock_guard lock(mutex_);
    EK_CHECK(Find(id) == nullptr);
    auto instance = std::make_unique<Instance>();
    instance->id = id;
    instance->channel = channel;
    instance->device = device;
    instance->threads = threads;
    instance->max_rows = max_rows > 0 ? std::min(max_rows, max_batch_) : max_batch_;
    starved_ = false;
    PlanWarming(*instance, &actions);
    instances_.push_back(std::move(instance));
    Plan(clock_.Now(), &actions);
  }
  Execute(&actions);
}

void Dispatcher::Retire(int id, std::function<void()> done) {
  Actions actions;
  {
    const std::lock_guard lock(mutex_);
    Instance* instance = Find(id);
    EK_CHECK(instance != nullptr && !instance->retired);
    instance->retired = true;
    instance->usable = false;
    instance->plan.required.clear();
    instance->plan.optional.clear();
    instance->on_retired = std::move(done);
    PublishPartLimit();
    Plan(clock_.Now(), &actions);
  }
  Execute(&actions);
}

void Dispatcher::Detach(int id) {
  {
    const std::lock_guard lock(mutex_);
    Instance* instance = Find(id);
    if (instance == nullptr) return;
    instance->usable = false;
    instance->on_retired = nullptr;
    instance->plan.required.clear();
    instance->plan.optional.clear();
  }
  OnChannelReadable(id);  // what was finished before it ended counts
  Actions actions;
  {
    std::unique_lock lock(mutex_);
    Instance* instance = Find(id);
    gathered_.wait(lock, [instance] { return instance->gathering == 0; });
    auto inflight = std::move(instance->inflight);
    std::erase_if(instances_, [instance](const auto& i) { return i.get() == instance; });
    PublishPartLimit();
    if (!inflight.empty()) {
      // Only the first ran; the one behind it was never looked at.
      for (Part* part : inflight.front()->parts) ++part->kills;
    }
    // The retries are a stack: what came last goes on first.
    std::ranges::reverse(inflight);
    for (const auto& batch : inflight) {
      std::vector<Part*> again;
      for (Part* part : batch->parts) {
        if (part->kills >= kKillsAllowed) {
          EndPart(*part,
                  Internal("model '{}': the worker died twice while it ran this request",
                           options_.model),
                  &actions);
        } else {
          again.push_back(part);
        }
      }
      std::ranges::reverse(again);
      for (Part*& part : again) Rerun({&part, 1}, batch->reason, &actions);
    }
    Plan(clock_.Now(), &actions);
  }
  Execute(&actions);
}

// Puts parts of a batch that did not come through first in line, as a batch of their own. Parts nobody wants any more end here.
void Dispatcher::Rerun(std::span<Part* const> parts, CloseReason reason, Actions* actions) {
  auto batch = std::make_unique<Batch>();
  batch->reason = reason;
  for (Part* part : parts) {
    const Status& unwanted = part->request->failure.ok() ? unavailable_ : part->request->failure;
    if (!unwanted.ok()) {
      EndPart(*part, unwanted, actions);
      continue;
    }
    part->state = Part::State::kWaiting;
    batch->parts.push_back(part);
    batch->rows += part->rows;
    batch->bytes += part->bytes;
  }
  if (batch->parts.empty()) return;
  ++stats_.reruns;
  retries_.push_back(std::move(batch));
}

void Dispatcher::Execute(Actions* actions) {
  Perform(actions);
  if (node_id_ >= 0) options_.node->Run();
}

void Dispatcher::Perform(Actions* actions) {
  for (Batch* batch : actions->gather) GatherAndSubmit(batch, actions);
  for (const auto& request : actions->ended) Answer(*request, options_.signature);
  for (const auto& one : actions->failed) one.call->Done(one.status, {}, one.timings);
  for (const auto& call : actions->calls) call();
}

// With more instances or other models at work, the loop would take a core that they need.
bool Dispatcher::SpareCore() const {
  int busy = 0;
  for (const auto& instance : instances_) {
    if (!instance->inflight.empty()) busy += instance->threads;
  }
  return busy < options_.cores;
}

void Dispatcher::GatherAndSubmit(Batch* batch, Actions* actions) {
  const Time begin = clock_.Now();
  const auto views =
      batch->parts.empty()
          ? WarmBatch(options_.signature, batch->run_rows, batch->arena, batch->untouched)
          : GatherBatch(options_.signature, batch->parts, batch->run_rows, batch->arena);
  EK_CHECK(views.ok());  // sizes were checked when the batch was formed
  int ends_soon = -1;
  Time by{};
  {
    const std::lock_guard lock(mutex_);
    const Time now = clock_.Now();
    batch->gather = now - begin;
    batch->channel->Submit(batch->slot, batch->id, *views);
    if (--batch->instance->gathering == 0) gathered_.notify_all();
    for (Part* part : batch->parts) {
      --part->request->parts_read;
      // It may have failed meanwhile, and waited only for its memory.
      if (!part->request->failure.ok()) Settle(part->request, actions);
    }
    const Duration expected = TimesOf(*batch->instance).Estimate(batch->run_rows);
    if (SpareCore() && !batch->lay_ready && expected > Duration::zero() && expected < kShortBatch) {
      ends_soon = batch->channel->done_fd();
      by = now + expected + expected / 2 + kWakeUp;
    }
  }
  if (ends_soon >= 0) loop_.ExpectSoon(ends_soon, by);
}

void Dispatcher::Collect(Instance& instance,
                         std::vector<std::pair<std::unique_ptr<Batch>, ipc::Completion>>* done) {
  const Time now = clock_.Now();
  while (auto completion = instance.channel->Poll()) {
    EK_CHECK(!instance.inflight.empty());
    auto batch = std::move(instance.inflight.front());
    instance.inflight.pop_front();
    if (completion->batch_id != batch->id) {
      completion->status =
          Internal("the worker answered batch {} for batch {}", completion->batch_id, batch->id);
    }
    // Behind another one it ran from that one's end, by the worker's clock: both may have been collected at once.
    const Time end = completion->started + completion->compute;
    batch->held = batch->lay_ready ? end - instance.last_end : now - batch->front_since;
    instance.last_end = end;
    if (batch->lay_ready && completion->compute > Duration::zero()) {
      // More than an objective says no more than that it is too long.
      const Duration waited =
          std::clamp(batch->held - completion->compute, Duration::zero(), Objective());
      turn_ += (waited - turn_) / 16;
    } else if (!batch->lay_ready) {
      turn_ -= turn_ / 64;  // back to back they are no more: what was seen then is forgotten
    }
    if (!instance.inflight.empty()) instance.inflight.front()->front_since = now;
    done->emplace_back(std::move(batch), std::move(*completion));
  }
}

void Dispatcher::OnChannelReadable(int id) {
  std::vector<std::pair<std::unique_ptr<Batch>, ipc::Completion>> done;
  ipc::Channel* channel = nullptr;
  {
    Actions actions;
    {
      const std::lock_guard lock(mutex_);
      Instance* instance = Find(id);
      if (instance == nullptr) return;
      channel = instance->channel;
      channel->DrainDone();
      Collect(*instance, &done);
      for (auto& [batch, completion] : done) {
        if (batch->parts.empty()) FinishWarm(*instance, *batch, completion, &actions);
      }
      // The next batch starts before the last one's answers are written.
      Plan(clock_.Now(), &actions);
    }
    Execute(&actions);
  }
  for (auto& [batch, completion] : done) {
    const uint32_t slot = batch->slot;
    if (!batch->parts.empty()) Complete(std::move(batch), completion);
    Actions actions;
    {
      const std::lock_guard lock(mutex_);
      channel->Release(slot);
      Plan(clock_.Now(), &actions);
    }
    Execute(&actions);
  }
}

void Dispatcher::Complete(std::unique_ptr<Batch> batch, const ipc::Completion& completion) {
  Status status = completion.status;
  if (status.ok()) {
    status = CheckOutputs(options_.signature, completion.outputs, batch->run_rows, batch->parts);
  }
  if (status.ok()) return AnswerBatch(*batch, completion);
  if (batch->parts.size() == 1)
    LogDebug("model '{}': a request failed in the engine: {}", options_.model, status.ToString());
  Actions actions;
  {
    const std::lock_guard lock(mutex_);
    RecordBatch(*batch, completion, clock_.Now());
    FailBatch(std::move(batch), status, &actions);
    Plan(clock_.Now(), &actions);
  }
  Execute(&actions);
}

void Dispatcher::FailBatch(std::unique_ptr<Batch> batch, const Status& status, Actions* actions) {
  auto& parts = batch->parts;
  if (parts.size() == 1) {
    return EndPart(*parts.front(), status.Annotate(fmt::format("model '{}'", options_.model)),
                   actions);
  }
  const std::span<Part* const> all(parts);
  Rerun(all.subspan(parts.size() / 2), batch->reason, actions);
  Rerun(all.first(parts.size() / 2), batch->reason, actions);
}

void Dispatcher::AnswerBatch(Batch& batch, const ipc::Completion& completion) {
  // Whole requests are closed first, all under one lock, then answered from the batch's memory.
  std::vector<std::unique_ptr<Request>> whole(batch.parts.size());
  {
    const std::lock_guard lock(mutex_);
    const Time now = clock_.Now();
    RecordBatch(batch, completion, now);
    for (size_t i = 0; i < batch.parts.size(); ++i) {
      Request& request = *batch.parts[i]->request;
      if (request.call == nullptr) continue;  // answered before
      request.timings.queue = request.taken_at - request.call->arrived;
      request.timings.batch = completion.started - request.taken_at;
      request.timings.compute = completion.compute;
      request.timings.batch_rows = batch.rows;
      if (request.parts.size() > 1) continue;
      Close(request, now);
      whole[i].reset(&request);
    }
  }
  const Time begin = clock_.Now();
  auto scatter = Scatter::Create(options_.signature, completion.outputs, batch.run_rows);
  std::vector<TensorView> views;
  bool others = false;  // of split requests, and of those that were answered before
  for (size_t i = 0; i < batch.parts.size(); ++i) {
    EK_CHECK(scatter->Next(batch.parts[i]->rows, &views).ok());  // CheckOutputs has looked
    if (whole[i] != nullptr) {
      whole[i]->call->Done(Status::Ok(), views, whole[i]->timings);
    } else {
      others = true;
      Keep(*batch.parts[i], views);
    }
  }
  Actions actions;
  {
    const std::lock_guard lock(mutex_);
    const Duration took = clock_.Now() - begin;
    // RecordBatch has counted it.
    stats_.scatter.Add(took, 0);
    stats_.by_size[batch.rows].scatter.Add(took, 0);
    for (size_t i = 0; others && i < batch.parts.size(); ++i) {
      if (whole[i] == nullptr) EndPart(*batch.parts[i], Status::Ok(), &actions);
    }
  }
  Execute(&actions);
}

void Dispatcher::EndPart(Part& part, const Status& status, Actions* actions) {
  Request* request = part.request;
  part.state = Part::State::kEnded;
  ++request->ended_parts;
  if (!status.ok()) return FailRequest(request, status, actions);
  Settle(request, actions);
}

// Parts that wait end here; those in a batch go on, and their results are thrown away.
void Dispatcher::FailRequest(Request* request, const Status& status, Actions* actions) {
  if (request->failure.ok()) request->failure = status;
  for (Part& part : request->parts) {
    if (part.state != Part::State::kWaiting) continue;
    if (part.lane != nullptr) {
      queue_.Remove(part);
    } else {
      for (auto& batch : retries_) {
        if (std::erase(batch->parts, &part) == 0) continue;
        batch->rows -= part.rows;
        batch->bytes -= part.bytes;
      }
      std::erase_if(retries_, [](const auto& batch) { return batch->parts.empty(); });
      part.state = Part::State::kEnded;
    }
    ++request->ended_parts;
  }
  Settle(request, actions);
}

// Answers a request whose parts have all ended, or that has failed and whose memory no batch is being filled from. The record
// itself goes with the last of its parts.
void Dispatcher::Settle(Request* request, Actions* actions) {
  const bool ended = request->ended_parts == request->parts.size();
  if (request->call == nullptr) {
    if (ended) delete request;
  } else if (ended) {
    if (request->failure.ok()) request->failure = CheckJoined(*request, options_.signature);
    Close(*request, clock_.Now());
    actions->ended.emplace_back(request);
  } else if (!request->failure.ok() && request->parts_read == 0) {
    Close(*request, clock_.Now());
    actions->failed.push_back(
        {std::exchange(request->call, nullptr), request->failure, request->timings});
  }
}

void Dispatcher::Close(Request& request, Time now) {
  request.call->scheduler_state = nullptr;
  --open_requests_;
  const Duration total = now - request.call->arrived;
  ++stats_.requests[static_cast<size_t>(request.failure.code())];
  stats_.request_seconds.Observe(Seconds(total));
  // Whoever left, or met a broken worker, says nothing of when answers come; nor does one of whom nothing was predicted say how wrong predictions are.
  if (request.predicted > Duration::zero() &&
      (request.failure.ok() || request.failure.code() == Code::kDeadlineExceeded))
    prediction_error_.OnEnd(request.predicted, now - request.accepted, Objective());
  if (!request.failure.ok()) {
    (request.failure.code() == Code::kCancelled ? stats_.cancel : stats_.fail).Add(total);
    return;
  }
  stats_.rows += static_cast<uint64_t>(request.rows);
  stats_.success.Add(total);
  stats_.queue.Add(request.timings.queue);
  stats_.queue_seconds.Observe(Seconds(request.timings.queue));
  stats_.batch_wait_seconds.Observe(Seconds(request.timings.batch));
}

void Dispatcher::Answer(Request& request, const Signature& signature) {
  if (!request.failure.ok()) return request.call->Done(request.failure, {}, request.timings);
  std::vector<TensorView> views(signature.outputs.size());
  std::vector<std::vector<std::byte>> bytes(views.size());
  for (size_t i = 0; i < views.size(); ++i) {
    views[i] = request.parts.front().outputs[i];
    int64_t rows = 0;
    for (const Part& part : request.parts) {
      rows += part.outputs[i].shape[0];
      bytes[i].insert(bytes[i].end(), part.outputs[i].data.begin(), part.outputs[i].data.end());
    }
    views[i].shape[0] = rows;
    views[i].data = bytes[i];
  }
  request.call->Done(Status::Ok(), views, request.timings);
}

void Dispatcher::RecordBatch(const Batch& batch, const ipc::Completion& completion, Time now) {
  const bool ok = completion.status.ok();
  ++stats_.batches[static_cast<size_t>(batch.reason)];
  ++stats_.executions;
  stats_.batch_rows.Observe(batch.rows);
  stats_.compute_seconds.Observe(Seconds(completion.compute));
  // All three together, so that no snapshot finds their counts apart: clients take that for an error. The answers' time is
  // added when they are written.
  const auto count = [&](auto& counters) {
    counters.gather.Add(batch.gather);
    counters.compute.Add(completion.compute);
    counters.scatter.Add(Duration::zero());
  };
  count(stats_);
  count(stats_.by_size[batch.rows]);
  const DeviceClass device = batch.device;
  auto& served = stats_.by_device[device == DeviceClass::kGpu ? 1 : 0];
  served.compute += completion.compute;
  if (ok) {
    auto& times = device == DeviceClass::kGpu ? stats_.device_times : stats_.times;
    times.Record(batch.run_rows, completion.compute);
    if (device != DeviceClass::kGpu) stats_.late.Record(batch.rows, completion.compute);
    ++served.batches;
    served.rows += static_cast<uint64_t>(batch.rows);
    if (node_id_ >= 0) {
      options_.node->Ran(node_id_, device, batch.run_rows, completion.compute, now);
      if (device == DeviceClass::kCpu)
        options_.node->Held(node_id_, batch.held - completion.compute);
    }
  }
  stats_.last_inference = now;
  stats_.recent.push_back({batch.closed, batch.rows, batch.run_rows,
                           static_cast<int>(batch.parts.size()), batch.reason, batch.oldest_wait,
                           batch.gather, completion.compute, batch.device, !ok});
  if (stats_.recent.size() > ModelStats::kRecent) stats_.recent.pop_front();
}

}  // namespace evenkeel
