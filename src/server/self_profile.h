// Measures the models that are served, beside serving, and has each run on what its load table says.
//
// Life: Create() → StartForm() at each load → Begin() once all models are ready → ... → Stop().
// What it does: some seconds after Begin() it sweeps one model after the other, at the pace of SweepPace; rows go to the store as they come.
//   A complete table is read by DecideForm(), again when the forecast has moved; what is worth going over to is adopted, and kept for the
//   next start. Models that may run on an accelerator are measured there too, on shares that are borrowed (Accelerators::Lend): shapes that
//   there is no room for, or whose loan is recalled, are left out and measured once there is. Of a model that may run on both ClassHolding
//   says each second which classes it holds instances of. Live times that have left the table (DriftDetector) have the model measured again, at most once in kLeastBetween
//   drift times. A model that comes, goes or is loaded again meanwhile is followed within a second.
// Faults: a sweep that cannot go on (files gone, no container can be started) leaves the model served as it is, says why, and is tried again
//   after kRetry. A form whose instances do not come up is given up likewise.
// Threads: `ek-sweep` measures (blocks), `ek-choices` looks at the models once a second. Neither runs under `profiling: off`.
// Thread-safety: thread-safe but for Begin() and Stop(), which are the composition's. Source: A2, A4, A5, A6, A7.
#pragma once

#include <condition_variable>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "containers/runtime.h"
#include "core/clock.h"
#include "ipc/unique_fd.h"
#include "profiling/load_table_store.h"
#include "profiling/policy/sweep_pace.h"
#include "profiling/policy/sweep_plan.h"
#include "profiling/row_pool.h"
#include "profiling/sampler.h"
#include "profiling/sweep.h"
#include "server/accelerators.h"
#include "server/class_choice.h"
#include "server/form_choice.h"
#include "server/profiled_model.h"

namespace evenkeel {

struct SelfProfileOptions {
  bool enabled = true;
  std::string state, libexec, cache;  // cache: of compiled models; empty: none
  Rung rung = Rung::kProcess;         // of the workers that serve
  std::vector<int> worker_cpus;
  int cores = 1;          // that the daemon and its workers may use, together
  int fixed_threads = 0;  // that the operator asked for all instances; 0: none
  std::optional<std::string> shapes,
      batches;                               // to sweep; nullopt: what the host holds, 1, 2, 4 ...
  Duration after = std::chrono::seconds(5);  // Begin()
  Duration drift = std::chrono::seconds(60);
  bool by_method = false;
  double ratio_threshold = 0.8;
  Accelerators* accelerators = nullptr;  // null: none are served
  // Whether something else that is served computes now, language models that is. Any thread; empty: nothing ever.
  std::function<bool()> others_busy = {};
};

class SelfProfile {
 public:
  static constexpr Duration kRetry = std::chrono::minutes(10);
  static constexpr int kLeastBetween = 10;  // drift times
  static constexpr size_t kLeastSamples = 16;
  // A table that was measured with made-up inputs is looked at so often for whether there are sampled ones now.
  static constexpr Duration kLookForSamples = std::chrono::seconds(10);

  using Models = std::function<std::vector<std::shared_ptr<ProfiledModel>>()>;

  // Error kInvalidArgument: shapes or batches that cannot be measured here.
  static Result<std::unique_ptr<SelfProfile>> Create(SelfProfileOptions options, Sampler& sampler,
                                                     const Clock& clock);
  ~SelfProfile();

  // What the model was given from its table in an earlier run of the daemon, if its files are the same: at most one form a class. Blocks on
  // the disk for a moment.
  std::vector<InstanceForm> StartForms(const ModelConfig& model);

  // The model does not load on what StartForms() gave: that is not given again. Blocks likewise.
  void ForgetForms(const ModelConfig& model);

  void Begin(Models models);
  // Interrupts what is being measured and ends both threads. Idempotent.
  void Stop();

  enum class Phase : uint8_t { kOff, kWaiting, kSweeping, kComplete, kFailed };
  static std::string_view NameOf(Phase phase);

  // For `show`, GET .../batching and metrics.
  struct View {
    Phase phase = Phase::kOff;
    std::string why;     // kOff, kFailed
    std::string paused;  // kSweeping: what it waits for; empty: it runs
    size_t cells_run = 0, cells_expected = 0, cells = 0;
    std::string inputs;
    std::string left_out;  // shapes that the device had no room for, in words
    LoadRows table;        // complete, or what is known so far
    struct Chosen {
      std::optional<FormDecision> decision;
      std::optional<Cell> adopted;
      std::string adopted_why, adoption_failure;
      double drift_ratio = 1;
      Duration away_for{};
    };
    Chosen chosen;                    // of its class; of a model of both classes: on the processor
    std::optional<Chosen> on_device;  // of such a model, on an accelerator
    std::optional<HeldClasses> held;  // of such a model
    std::string advice;
    int times_measured = 0;  // complete sweeps since the start
    bool on_disk = true;
  };
  // Does not wait for the disk. `details`: also `table` and decisions, which are large.
  View ViewOf(const ProfiledModel& model, bool details = true) const;
  // Core time that measuring has taken so far.
  double core_seconds() const;

 private:
  struct Entry;
  struct Side;
  struct Job;
  class Gate;
  using EntryPtr = std::shared_ptr<Entry>;

  SelfProfile(SelfProfileOptions options, Sampler& sampler, const Clock& clock);

  // `ek-sweep` (self_profile_sweep.cc).
  void SweepLoop();
  bool MakeSweepRuntime();
  EntryPtr NextToSweep();
  void Sweep(Entry& entry);
  Status SweepCells(Entry& entry, Job& job, const std::string& engine);
  Result<RowPool> RowsFor(const ModelConfig& config, const Signature& signature,
                          std::string* inputs, bool* unfit);
  // Where the kept rows' inputs are from; "": there are none.
  std::string TakeKept(const TableKey& key, const std::string& inputs, SweepPlan* plan);
  void Keep(const TableKey& key, const std::string& inputs, const LoadRow& row);
  void Publish(Entry& entry, const SweepPlan& plan);
  Result<SweepPlan> PlanFor(const Job& job) const;
  Status RunCells(Entry& entry, Job& job, SweepPlan& plan);
  Status HoldShare(const Entry& entry, Job& job, const CellShape& shape);
  bool WasRecalled(const Entry& entry);
  bool HasRoomFor(const Entry& entry) const;
  bool HasSamplesFor(const Entry& entry) const;
  std::vector<int> BatchesFor(const Signature& signature, int most) const;
  Status Complete(Entry& entry, const SweepPlan& plan, std::string_view rows_from, bool swept,
                  double seconds);
  ServingState ServingNow(Time now) const;

  // `ek-choices` (self_profile.cc, self_profile_choices.cc).
  void ChoiceLoop();
  void Look(Time now);
  void Follow(const std::vector<std::shared_ptr<ProfiledModel>>& models);
  void LookForDrift(Entry& entry, const ProfiledModel& model, Time now);
  void Decide(const EntryPtr& entry, ProfiledModel& model, DeviceClass device, Time now);
  FormQuery QueryOf(const ProfiledModel& model, DeviceClass device, Time now) const;
  void Adopt(const EntryPtr& entry, ProfiledModel& model, DeviceClass device, Time now);
  void Hold(Entry& entry, ProfiledModel& model, Time now);
  static void ExpectTimes(Entry& entry);  // REQUIRES: mutex_ held
  void LookForKills(Entry& entry, const ProfiledModel& model);
  InstanceForm FormOf(const Cell& cell, const std::vector<TimedSize>& times,
                      const std::string& why) const;
  std::optional<StoredChoice> FindChoice(const ModelConfig& model, const std::string& stamp,
                                         DeviceClass device);
  bool Allowed(const ModelConfig& model, const Cell& cell) const;
  std::string SetupOf(DeviceClass may_run, DeviceClass chosen) const;
  static View::Chosen ChosenOf(const Side& side, bool details, Time now);
  void KeepChoices();
  bool WaitFor(Duration span);  // false: it is stopping

  const SelfProfileOptions options_;
  Sampler& sampler_;
  const Clock& clock_;
  const HostSize host_;
  const std::string machine_;  // fingerprint
  Models models_;

  mutable std::mutex store_mutex_;
  std::unique_ptr<LoadTableStore> store_;  // its work on the disk is guarded by store_mutex_
  bool told_unwritable_ = false;           // guarded by store_mutex_

  mutable std::mutex mutex_;  // guards what follows, entries' contents included
  std::condition_variable changed_;
  bool stopping_ = false;
  std::map<const ProfiledModel*, EntryPtr> entries_;
  std::vector<std::shared_ptr<ProfiledModel>> served_;  // as of the last look
  std::map<std::string, std::vector<StoredChoice>>
      started_with_;  // by model: given to StartForms' caller
  EntryPtr sweeping_;
  std::string paused_;
  bool recalled_ = false;  // the share of the device that is being measured on is wanted back
  std::string runtime_failure_;
  double core_s_ = 0;

  // `ek-sweep` only.
  std::unique_ptr<Runtime> runtime_;
  SweepPace pace_;
  ipc::UniqueFd cancel_;  // readable: what is measured is to end

  std::thread sweeper_, chooser_;
};

}  // namespace evenkeel
