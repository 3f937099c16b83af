// Shares a node's cores among its models: holds what each of them has waiting and running, asks the node's policy, and has the chosen
// model start the chosen batch.
//
// Use for: the daemon; one a node. Dispatchers are its members. Not for: admission, expiry, what a batch holds (Dispatcher).
// How it goes: a dispatcher publishes what it has after each change, under its own mutex, and calls Run() when it has released that. Run() asks
//   the policy until nothing more is to be started, and lets the members start what it says, on the calling thread; it arms an alarm
//   for the time the policy wants to be asked again. What was granted counts as started until the member's StartBatch() has returned, so that
//   two threads never give out one core twice.
// Contract: Publish(), Arrived() and Ran() only take this object's mutex, which is never held while a member is called. After Leave() returned
//   no call of the member comes or is under way. REQUIRES: Leave() not from within StartBatch().
// Ownership: members outlive their Leave(). The loop and the clock outlive this object.
// Units: rows, Time. Thread-safety: thread-safe.
// Source: A8 to A11; "The window, ours": core gate.
#pragma once

#include <array>
#include <condition_variable>
#include <functional>
#include <memory>
#include <mutex>
#include <span>
#include <string_view>
#include <vector>

#include "batching/policy/node_policy.h"
#include "batching/policy/standing_cores.h"
#include "core/clock.h"
#include "core/event_loop.h"
#include "core/histogram.h"

namespace evenkeel {

class NodeScheduler {
 public:
  struct Start {
    int lane = 0;      // index in the order in which lanes were published
    int instance = 0;  // id, as published
    int64_t rows = 0;
    CloseReason reason = CloseReason::kIdle;
  };

  class Member {
   public:
    virtual ~Member() = default;
    // Starts the batch if that is still possible, and publishes what is then. Must not call Leave().
    virtual void StartBatch(const Start& start) = 0;
  };

  // What a member has. Filled anew at each Publish(); `max_batch` of a class without a usable instance stays that of the last.
  struct Snapshot {
    std::vector<policy::LaneView> lanes;
    std::vector<policy::InstanceView> instances;
    std::vector<int> ids;  // of the instances
    Duration objective{};
    DeviceClass device = DeviceClass::kCpu;  // what the manifest allows
    int max_batch = 1;
    int device_max_batch = 1;  // on an accelerator
    bool draining = false;
  };

  // A language model: it holds cores for as long as it has sequences, and gives some back when batches want them (standing_cores.h).
  class StandingMember {
   public:
    virtual ~StandingMember() = default;
    // What it may use has changed: it takes TakeCores() and has its worker told. On any thread, from within Run().
    virtual void CoresChanged() = 0;
  };
  struct StandingNeed {
    bool wants = false;  // it has sequences to run
    int most = 1;        // cores that it can use, at least 1
    Duration step{};     // how long a step of it takes
  };

  NodeScheduler(std::unique_ptr<policy::NodePolicy> policy, int cores, bool save_power,
                EventLoop& loop, const Clock& clock);
  ~NodeScheduler();  // REQUIRES: no members

  // No alarm rings any more, so that this object may be destroyed on any thread. On the loop.
  void Close();

  int Join(Member* member);
  void Leave(int id);

  // A request of `rows` rows has come; also one that is shed.
  void Arrived(int id, int64_t rows, Time now);
  // A batch of `rows` rows ran for `compute` on an instance of the class.
  void Ran(int id, DeviceClass device, int rows, Duration compute, Time now);
  // The same of one that nobody asked for: it tells how long batches take, and does not count among those that ran.
  void RanWarm(int id, DeviceClass device, int rows, Duration compute, Time now);
  // A batch held its core for so long beyond the time that the engine took for it.
  void Held(int id, Duration overhead);
  // T of a batch of `rows` rows on the class, with its overhead; 0: nothing is known of it.
  policy::BatchCurve::Timed TimeOf(int id, DeviceClass device, int rows) const;
  // The model's instances of that class are of another form: T(n) is what `times` say from now on, until batches tell more.
  void Seed(int id, DeviceClass device, std::span<const policy::BatchCurve::Timed> times);
  // Y_batch and T_batch of the row that the model was given from its load table, for policies that go by them.
  void SetBest(int id, int rows, Duration batch_time);
  // `fill` writes the snapshot, whose vectors come empty. It is called at once, under this object's mutex.
  template <typename Fill>
  void Publish(int id, Fill fill) {
    const std::lock_guard lock(mutex_);
    Snapshot& snapshot = Cleared(id);
    fill(snapshot);
    Refresh(id);
  }

  // Language models. All but JoinStanding() and LeaveStanding() want a Run() behind them.
  int JoinStanding(StandingMember* member);
  // After it returned no call of the member comes or is under way. REQUIRES: not from within CoresChanged().
  void LeaveStanding(int id);
  void PublishStanding(int id, const StandingNeed& need);
  // Cores that its worker is to be told now. What it could use before stays in the books until Confirm() was called as often as this.
  int TakeCores(int id);
  // The worker holds to the earliest of the figures that were taken and not confirmed yet.
  void Confirm(int id);
  // There is no worker any more: it holds nothing, whatever it was told.
  void Forget(int id);
  struct StandingLook {
    int granted = 0,
        held = 0;         // cores: what it may use from its next step on; what it may be using now
    double entitled = 0;  // of all language models together, while everybody wants all
  };
  StandingLook LookAtStanding(int id) const;
  // Whether a language model holds cores now, or is about to.
  bool StandingBusy() const;

  // Asks the policy and has batches started until it starts no more. REQUIRES: the caller holds no member's mutex.
  void Run();

  // Whether no other model has anything waiting or running that wants a core: a full batch may then lie ready behind a running one.
  bool Alone(int id) const;
  // What the policy thinks of the model now.
  policy::ModelOutlook Window(int id) const;
  // What the policy thinks of the model, and what is forecast of its arrivals beside what came last.
  struct Forecast {
    Duration interval{};
    double next_rows = 0;    // expected in the interval that is open
    double last_rows = 0;    // in the last one that ended
    double mean_error = 0;   // absolute, rows an interval, since the start
    double naive_error = 0;  // the same of "as many as last time"
    std::string_view forecaster;
  };
  struct Outlook {
    policy::ModelOutlook window;
    Duration left_age{};  // of the oldest row that waits: the window's left bound; 0: nothing waits
    std::array<Forecast, policy::Aggregator::kLevels> forecasts;
    size_t steering = 0;                     // index of the forecast that steers
    Histogram forecast_errors{kRateBounds};  // its absolute errors, rows a second
  };
  Outlook OutlookOf(int id) const;
  // The model's load as it bears on how many instances it needs.
  struct Demand {
    double rate_rps =
        0;  // rows a second, forecast for the next `horizon` or, if that is shorter, half second
    double peak_rps =
        0;  // the most in an interval of half a second or longer, of those that `recent` reaches back to
    int batch_rows =
        1;  // of the batch that is aimed at: the knee, or where the policy has none the size that costs a row least
    Duration batch_time{};  // its T; 0: not known
    Time last_arrival{};    // Time{}: never
  };
  Demand DemandOf(int id, Duration horizon, Duration recent) const;
  // How much of the node's cores is asked for.
  struct Load {
    double busy_cores = 0;  // threads of batches and of language models' steps that run now
    double forecast_cores =
        0;  // that the models' forecast rates keep busy, at the batches that are aimed at
  };
  Load LoadNow() const;
  // Items a second that are expected over the next `span`.
  double RatePerSecond(int id, Duration span) const;
  // Whether batches of the model may share cores with those of others, so that their times are not its own.
  bool SharesCores(bool decides_itself) const;
  std::string_view policy_name() const { return policy_->name(); }
  int cores() const { return cores_; }

 private:
  struct Slot;
  struct Standing;

  void Record(int id, DeviceClass device, int rows, Duration compute, Time now);  // under mutex_

  // node_scheduler_standing.cc
  int StandingMembers() const;
  int HeldCores() const;         // by language models
  int StandingCoresNow() const;  // the same, and what is kept for them
  policy::StandingView StandingViewNow(Time now, std::vector<policy::StandingClaim>* claims);
  // True: cores came free for batches. `changed` gets whoever is to be told.
  bool ShareStanding(Time now, std::vector<Standing*>* changed);
  void Tell(const std::vector<Standing*>& changed);
  bool RunOne(std::vector<Standing*>* changed);
  void LookAtBatches(Time now);

  Demand DemandIn(const Slot& slot, int id, Duration horizon, Duration recent) const;
  Snapshot& Cleared(int id);
  void Refresh(int id);
  void Arm(Time wake);

  const std::unique_ptr<policy::NodePolicy> policy_;
  const int cores_;
  const bool save_power_;
  const Clock& clock_;

  mutable std::mutex mutex_;        // guards everything below
  std::condition_variable called_;  // a member's call ended
  std::vector<std::unique_ptr<Slot>> slots_;
  std::vector<policy::ModelView> views_;  // one a slot
  std::vector<std::unique_ptr<Standing>> standing_;
  policy::StandingCores shares_;
  // Of batches on cores, looked at twice a second.
  struct BatchLoad {
    Time looked{};
    int models = 0;       // that have work now and then
    double cores = 0;     // that they keep busy, by forecast
    Duration shortest{};  // of their objectives
  } batch_load_;
  Time armed_ = kNever;
  std::unique_ptr<Alarm> alarm_;
};

}  // namespace evenkeel
