// Takes the calls of one model version, forms batches and runs them on its instances; answers every call exactly once.
//
// Use for: one model version. Not for: starting workers (server/), ordering between models.
// Contract:
//   - Infer() checks the call's rows, refuses what cannot be served in time (kOverloaded), and queues the rest. It does not block.
//   - A batch that fails in the engine is run again in halves until only the guilty requests fail. When a worker dies, what it ran is
//     run again one request at a time; a request that two workers died of is answered kInternal.
//   - A waiting request whose deadline passes (or can no longer be met) is answered kDeadlineExceeded before compute is spent; one that lies
//     ready behind a batch that takes too long, too, and its result is thrown away.
//   - Batches are run at sizes that were run before (warmed), padded up to one: no request pays for a compilation. A size that takes
//     longer than the objective is not in use: it is not warmed, and a request with more rows than the largest warm size is split.
//   - Two batches may be in flight an instance: one runs, and a full one lies ready behind it.
// Ownership: channels are the caller's and outlive their Detach(). Calls are the front end's until Done().
// Thread-safety: thread-safe. The mutex is held for decisions only, never for copies, callbacks or system calls that wait. Instance
//   events (Attach, Detach, OnChannelReadable, alarms) belong to the loop's thread.
// Source: A8, A11.
#pragma once

#include <atomic>
#include <condition_variable>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "batching/loop_lag_gauge.h"
#include "batching/model_stats.h"
#include "batching/node_scheduler.h"
#include "batching/policy/admission.h"
#include "batching/policy/prediction_error.h"
#include "batching/policy/window.h"
#include "batching/queue.h"
#include "core/event_loop.h"
#include "core/infer.h"
#include "core/model_config.h"
#include "ipc/channel.h"

namespace evenkeel {

struct WarmPlan;  // dispatcher_internal.h

struct DispatcherOptions {
  std::string model;  // for messages
  Signature signature;
  BatchingConfig batching;
  std::optional<Duration> objective;  // p99; unset: max(50 ms, 10 T(1))
  Duration hang_timeout{};            // 0: max(10 s, 50 T(b))
  int default_priority = 8;
  size_t input_capacity = 0;  // bytes of a slot's input arena
  // Decides, with BatchingPolicy::kAuto, what this model runs and when, since other models share the cores. Null: it decides alone.
  NodeScheduler* node = nullptr;
  DeviceClass device =
      DeviceClass::kCpu;  // what the manifest allows; kAuto: instances of both classes
  // That the daemon and its workers may use, together: while one is free, the loop may look for the end of a short batch. 0: never.
  int cores = 0;
  // How late this process gets to what is ready; outlives the dispatcher. Null: at once.
  const LoopLagGauge* loop_lag = nullptr;
  // A worker's batch runs longer than it may. Called on the loop; the caller kills the worker and then calls Detach().
  std::function<void(int instance)> on_hang;
  // Every size that must be warm before the model counts as ready has been run (on the loop). The status says if warming failed.
  std::function<void(int instance, const Status&)> on_warm;
  // Something waits, and there is no instance that could run it, now or later. Called once until the next Attach(), without the
  // mutex, on any thread. May be empty.
  std::function<void()> on_starved;
  // The inputs of every well-formed call, also of those shed later, for the sample reservoir. Must be cheap and thread-safe. May be empty.
  std::function<void(std::span<const TensorView> inputs, int64_t rows)> on_inputs;
};

class Dispatcher final : private NodeScheduler::Member {
 public:
  Dispatcher(DispatcherOptions options, EventLoop& loop, const Clock& clock);
  // REQUIRES: no instance attached, nothing waiting (after Drain's callback); on the loop's thread, or after Close().
  ~Dispatcher() override;

  void Infer(InferCall* call);
  void Cancel(InferCall* call);

  // An instance whose worker has loaded the model, on the processor or on an accelerator (kCpu, kGpu); a batch of it keeps `threads` cores
  // of the host busy (0 on an accelerator: none). It serves once warmed. On the loop.
  // `max_rows`: no larger batch is given to it, 0: what the model takes.
  void Attach(int instance, ipc::Channel* channel, int threads = 1, int max_rows = 0,
              DeviceClass device = DeviceClass::kCpu);
  // The instance gets no batches any more. `done` is called once, on the loop, when none of its batches is in flight and their
  // memory is not read any more; not if Detach() comes first. On the loop. REQUIRES: attached, not retired before.
  void Retire(int instance, std::function<void()> done);
  // The worker is gone or is to go: what it ran is run elsewhere or by its successor. The channel is not used any more. On the loop.
  void Detach(int instance);
  // The channel's done_fd is readable. On the loop.
  void OnChannelReadable(int instance);

  // T(n) as a load table has it takes the place of what was measured live: the instances of that class (kCpu, kGpu) are of another form
  // from now on. Nothing changes if `times` is empty. Thread-safe.
  void Seed(std::span<const policy::BatchCurve::Timed> times,
            DeviceClass device = DeviceClass::kCpu);

  // While set, calls are answered with it and what waits too (kUnavailable: the model's workers crash again and again).
  void SetUnavailable(Status why);
  // Refuses new calls; batches close at once; `done` is called on the loop when every call was answered. Call once.
  void Drain(std::function<void()> done);

  // After Drain()'s callback, on the loop: no alarm rings any more, so that the dispatcher may be destroyed on any thread.
  void Close();

  // As loaded, or corrected by warming: a model whose outputs do not follow the batch axis is served unbatched.
  // Stable once on_warm was called.
  const Signature& signature() const { return options_.signature; }
  std::string_view policy() const { return gated_ ? options_.node->policy_name() : window_.name(); }
  // nullopt: no node decides for this model.
  std::optional<NodeScheduler::Outlook> Outlook() const;
  Duration objective() const;
  // Its load as the node counts it (all at rest without one), and whether any call waits or runs.
  struct Demand {
    NodeScheduler::Demand load;
    bool has_work = false;
  };
  Demand DemandNow(Duration horizon, Duration recent) const;
  ModelStats Stats() const;

  // For whoever works beside serving (dispatcher_look.cc): cheap, and not in anybody's way.
  Time last_arrival() const {
    return Time(Duration(last_arrival_.load(std::memory_order_relaxed)));
  }
  // How long the item that waits longest has waited; 0: none does.
  Duration OldestWait(Time now) const;
  BatchTimes Times(DeviceClass device = DeviceClass::kCpu) const;  // kCpu or kGpu
  double RowsPerSecond(Duration span) const;  // forecast; 0 where no node counts
  bool SharesCores() const;
  void SetBestBatch(int rows, Duration batch_time);
  // What it has to do and how fast it does it, for whoever compares nodes. Seconds of one core; zeros while nothing was measured.
  struct Work {
    int64_t waiting_rows = 0;
    double backlog_s = 0;   // those rows, and what is left of the batches that run
    double row_s = 0;       // of a row in the batches that are aimed at
    double late_row_s = 0;  // in those that ran lately; 0: none did, or a device takes part
    double alone_s = 0;     // time of a batch of one row, not core time
    uint64_t rows = 0;      // answered since it was made
  };
  Work WorkNow(Time now) const;
  // Gives the latest movable calls that wait back to who sent them, until they have so many rows; how many they had.
  int64_t GiveBack(int64_t rows);

 private:
  struct Batch;
  struct Instance;
  struct Actions;

  // Admission (dispatcher.cc).
  std::unique_ptr<Request> MakeRequest(InferCall* call, int64_t rows) const;
  // Notes in the request what it predicts, and by when its batch is to be back.
  Status Admit(Request& request, Time now);
  policy::AdmissionView ViewFor(const Request& request, Time now) const;
  Duration RemainingOf(const Instance& instance, Time now) const;
  double SharedStretch() const;
  int RowsWithin(const Request& request, int most) const;
  void Refuse(InferCall* call, const Status& status);

  // Planning, under the mutex (dispatcher_plan.cc).
  void Plan(Time now, Actions* actions);
  void DropDue(Time now, Actions* actions);
  void DropDueIn(Batch& batch, Time now, Actions* actions);
  Part* FirstDueRetry(Time now) const;
  Status WaitedTooLong(const Request& request, Time now) const;
  bool StartRetry(Instance& instance, Time now, Actions* actions);
  bool StartFromLanes(Instance& instance, Time now, Actions* actions, Time* wake);
  bool StartLane(Instance& instance, Lane& lane, int64_t rows, CloseReason reason, Time now,
                 Actions* actions);
  policy::SlotView SlotOf(const Instance& instance, const policy::LaneView& lane) const;
  bool MayLieReady(const Instance& instance) const;
  bool AnotherCouldStart() const;
  int64_t FitToWarm(const Instance& instance, int rows, int64_t waiting_rows) const;
  bool SpareCore() const;
  void TellStarved(Actions* actions);
  void TellRetired(Instance& instance, Actions* actions);
  void PublishToNode(Time now);
  void StartBatch(const NodeScheduler::Start& start) override;
  void TakeParts(Lane& lane, int64_t rows, Time start, Actions* actions, Batch* batch);
  void Launch(Instance& instance, std::unique_ptr<Batch> batch, Time now, Actions* actions);
  void ArmAlarm(Time wake);
  void OnAlarm();
  Duration HangLimit(const Instance& instance, const Batch& batch) const;

  // Running and answering; the last group needs the mutex (dispatcher_run.cc).
  void Execute(Actions* actions);
  void Perform(Actions* actions);
  void GatherAndSubmit(Batch* batch, Actions* actions);
  void Complete(std::unique_ptr<Batch> batch, const ipc::Completion& completion);
  void AnswerBatch(Batch& batch, const ipc::Completion& completion);
  static void Answer(Request& request, const Signature& signature);

  // Warming and the sizes it gives, under the mutex (dispatcher_warm.cc).
  void PlanWarming(Instance& instance, Actions* actions);
  bool StartWarm(Instance& instance, Time now, Actions* actions);
  bool MayHoldUp(const Instance& instance, int rows, bool required, Time now) const;
  void FinishWarm(Instance& instance, const Batch& batch, const ipc::Completion& completion,
                  Actions* actions);
  void CountWarmRun(Instance& instance, int rows, Duration took);
  void MakeUsable(Instance& instance, Actions* actions);
  bool Awaited(const Instance& instance) const;
  int MaxRows(const Instance& instance) const;
  int RunRows(const Instance& instance, int rows) const;
  int WarmBelow(const Instance& instance, int rows) const;
  void PublishPartLimit();
  Duration NextTime(const Instance& instance, int rows) const;
  Duration Objective() const;
  const BatchTimes& TimesOf(const Instance& instance) const;
  // Of all usable instances: what a batch takes where they share the work by how fast they are. 0: not known.
  Duration MeanTime(int rows) const;
  int FullSize(const Instance& instance) const;
  // T on the class that is faster at this size: for what is not placed yet.
  Duration Estimate(int rows) const;

  Instance* Find(int instance) const;
  void Collect(Instance& instance,
               std::vector<std::pair<std::unique_ptr<Batch>, ipc::Completion>>* done);
  void FailBatch(std::unique_ptr<Batch> batch, const Status& status, Actions* actions);
  void Rerun(std::span<Part* const> parts, CloseReason reason, Actions* actions);
  void EndPart(Part& part, const Status& status, Actions* actions);
  void FailRequest(Request* request, const Status& status, Actions* actions);
  void Settle(Request* request, Actions* actions);
  void Close(Request& request, Time now);
  void RecordBatch(const Batch& batch, const ipc::Completion& completion, Time now);

  DispatcherOptions options_;  // signature may be corrected until the first on_warm
  EventLoop& loop_;
  const Clock& clock_;
  const policy::Window window_;
  const bool gated_;     // the node decides what starts
  const int node_id_;    // -1: there is no node
  const int max_batch_;  // as the signature said at first
  // Rows that every usable instance can run at a warm size: where requests are cut, before the mutex is taken. A part that was
  // cut before the limit fell is run as it is.
  std::atomic<int> part_limit_;

  std::atomic<int64_t> last_arrival_{0};  // of a well-formed request, since the clock's epoch

  mutable std::mutex mutex_;          // guards everything below
  std::condition_variable gathered_;  // an instance's `gathering` fell to 0
  RowQueue queue_;
  std::vector<std::unique_ptr<Batch>>
      retries_;  // to be run as they are, first of all; back() is next
  std::vector<std::unique_ptr<Instance>> instances_;
  size_t open_requests_ = 0;  // accepted, not yet answered
  ModelStats stats_;
  Status unavailable_;
  bool draining_ = false;
  bool starved_ = false;     // on_starved was called for what waits
  bool was_usable_ = false;  // some instance has been warm: the signature is final
  std::function<void()> drained_;
  uint64_t next_batch_ = 1;
  Duration turn_{};  // that batches whose rows lay ready waited for a core, lately
  policy::PredictionError prediction_error_;
  policy::ModelOutlook outlook_;  // of the window, at the last arrival
  Time armed_ = kNever;
  std::unique_ptr<Alarm> alarm_;
};

}  // namespace evenkeel
