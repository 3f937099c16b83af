// One version of one model, served: its settings, its workers, its dispatcher.
//
// Life: Start() → first worker loads, tells the signature, is warmed → `on_ready` (once) → serves → Stop() → drained, workers ended → `on_stopped`.
//   Workers that end are started again (RestartPolicy); in a crash loop calls are answered kUnavailable until one comes up.
// Ownership: shared by the registry and by front ends that hold it during a call; the last one may let go on any thread, hence Stop() before.
// Thread-safety: ServedModel's methods, Stats() and Describe() are thread-safe; the rest belongs to the loop.
#pragma once

#include <atomic>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "batching/dispatcher.h"
#include "batching/loop_lag_gauge.h"
#include "core/model_config.h"
#include "frontends/service.h"
#include "llm/llm_tables.h"
#include "profiling/sampler.h"
#include "server/accelerators.h"
#include "server/instance_keeper.h"
#include "server/instance_set.h"
#include "server/profiled_model.h"

namespace evenkeel {

class SelfProfile;

// What every model version needs of the daemon. Outlives all of them.
struct ServingContext {
  EventLoop& loop;
  const Clock& clock;
  Runtime& runtime;
  Sampler& sampler;
  std::string libexec;  // folder of the worker executables
  std::string cache;    // folder for compiled models; empty: none
  std::vector<int> worker_cpus;
  int default_threads = 1;    // of an instance
  size_t max_body_bytes = 0;  // a batch's input buffer takes at least one request of this size
  SampleMode default_samples = SampleMode::kMemory;
  int cores = 1;  // that the daemon and its workers may use, together
  NodeScheduler* node =
      nullptr;  // decides for the models with `policy: auto`; null: each for itself
  InstanceKeeper* keeper = nullptr;  // decides how many instances; null: as the settings say
  // Of models whose settings name none.
  int min_instances = 1;
  Duration keep_alive = std::chrono::minutes(5);
  SelfProfile* profile = nullptr;        // knows what models ran on before; null: nobody does
  Accelerators* accelerators = nullptr;  // null: none are served
  bool hard_cores = false;               // of models whose settings do not say
  // Of language models.
  LlmTables* language_tables = nullptr;                 // null: nothing is kept
  std::optional<Duration> language_measure_after = {};  // without calls; unset: never measured
  std::function<std::optional<int64_t>()> spare_memory = {};  // bytes; empty: not known
  bool save_power = false;
  // `batching: fixed`: of models whose settings name no policy; unset: the node decides theirs.
  std::optional<Duration> fixed_delay = {};
  // Any model that can be called, by name and version, on whatever node; empty: there are no ensembles.
  std::function<Result<std::shared_ptr<ServedModel>>(std::string_view, std::string_view)>
      find_model = {};
  const LoopLagGauge* loop_lag = nullptr;  // null: requests are taken to be read as they come
};

// Cores that the batches of all models share: the gate's. The daemon may have others.
inline int CoresOfBatches(const ServingContext& context) {
  return context.node != nullptr ? context.node->cores() : context.cores;
}

class ModelVersion final : public ServedModel,
                           public ProfiledModel,
                           public std::enable_shared_from_this<ModelVersion>,
                           private InstanceSet::Owner,
                           private InstanceKeeper::Member {
 public:
  ModelVersion(ServingContext& context, ModelConfig config);
  ~ModelVersion() override;

  // `on_ready` is called once, on the loop: ok, or why the model can't be served (it is then stopped).
  void Start(std::function<void(Status)> on_ready);
  // Answers what was accepted, then ends the workers. `on_stopped` is called once, on the loop. Call once.
  void Stop(std::function<void()> on_stopped);
  // Its instances of the form's class are to be of `form` from now on: those are started and warmed, then those of the former form end one after the
  // other; no request is dropped. At rest, or before Start(), the next start uses it. `done` (may be empty) is called once, on the loop: ok (at rest: once that start has shown it), or why
  // the former form stays (no such instance could be had, or the model was stopped). On the loop.
  void Adopt(InstanceForm form, std::function<void(Status)> done = {});
  // Of a model of both classes: of which it holds instances, at least one; before, of both. Those of a class that is not held any more go
  // once one of the other serves. Where the held class's instances cannot be had, the other's stand in until they can. On the loop.
  void Hold(bool cpu, bool gpu);
  // Hastens Stop(): what still waits is answered kUnavailable.
  void Abandon();

  const std::string& name() const override { return config_.name; }
  const std::string& version() const override { return version_; }
  const Signature& signature() const override { return dispatcher_->signature(); }
  void Infer(InferCall* call) override { dispatcher_->Infer(call); }
  void Cancel(InferCall* call) override { dispatcher_->Cancel(call); }

  const ModelConfig& config() const override { return config_; }
  // REQUIRES: on_ready was called with ok.
  ModelStats Stats() const { return dispatcher_->Stats(); }
  std::string_view policy() const { return dispatcher_->policy(); }
  std::optional<NodeScheduler::Outlook> Outlook() const { return dispatcher_->Outlook(); }
  Dispatcher::Work WorkNow(Time now) const { return dispatcher_->WorkNow(now); }
  int64_t GiveBack(int64_t rows) { return dispatcher_->GiveBack(rows); }
  Duration objective() const override { return dispatcher_->objective(); }
  // A request would be answered: an instance is up, or the next one starts when a request comes.
  bool available() const { return up() > 0 || at_rest(); }
  // It has no instance, on purpose.
  bool at_rest() const { return at_rest_.load(std::memory_order_relaxed); }

  std::vector<InstanceSet::Info> Instances() const;
  // See ClassToServe().
  DeviceClass device_class() const override { return device_class_; }
  std::string device_label() const;  // of its accelerator; "GPU" while that is not known
  struct InstancesState {
    int wanted = 0, up = 0;
    std::string why;                           // as many are wanted
    std::shared_ptr<const InstanceForm> form;  // of those that are started now
    Duration start_up{};                       // until one is up, as measured; 0: not yet
    uint64_t starts = 0, restarts = 0;         // of workers, since the model was loaded
    uint64_t out_of_memory = 0;                // of the restarts: the kernel killed for memory
    int64_t memory_bytes = 0;                  // that one holds and would give back; 0: not known
    int min_instances = 0;
    Duration keep_alive{};
  };
  InstancesState InstancesNow() const;
  std::string EngineInfo() const override;  // JSON object, as the worker told it

  // ProfiledModel (model_version_profile.cc); REQUIRES the same.
  ServingState Serving(Time now) const override;
  double RowsPerSecond(Time now) const override;
  DeviceSize HeldShare() const override;
  std::vector<LiveSize> LiveTimes(DeviceClass device) const override;
  bool SharesCores() const override { return dispatcher_->SharesCores(); }
  std::optional<int64_t> OutOfMemoryAt() const override;
  void AdoptForm(InstanceForm form, std::function<void(Status)> done) override;
  void HoldClasses(bool cpu, bool gpu) override;
  void SetBestBatch(int rows, Duration batch_time) override {
    dispatcher_->SetBestBatch(rows, batch_time);
  }

 private:
  static constexpr int kDeviceIds = 1'000'000;  // first id of instances in on_device_

  // InstanceSet::Owner
  Result<std::unique_ptr<InstanceWorker>> StartWorker(int id, const InstanceForm& form,
                                                      WorkerEvents events) override;
  Dispatcher* OnLoaded(LoadedModel loaded) override;
  void OnReady(int id) override;
  void OnTrouble(const InstanceTrouble& trouble) override;
  void OnChange() override;
  // InstanceKeeper::Member
  policy::InstancesView Look(Time now) override;
  void Follow(const policy::InstancesPlan& plan) override;

  std::shared_ptr<const InstanceForm> FirstForm() const;
  std::shared_ptr<const InstanceForm> DeviceForm() const;
  // Instances by class (model_version_classes.cc).
  InstanceSet& SetOf(int id);
  const InstanceSet& Leading() const;
  int WantedOnHost() const;
  int WantedOnDevice() const;
  void Spread();
  bool NoteTrouble(const InstanceTrouble& trouble);

  int up() const { return instances_.up() + (on_device_ ? on_device_->up() : 0); }
  void Ready(const Status& status);
  void OnStarved();
  int LeastInstances() const;
  Duration KeepAlive() const;
  int64_t HeldByOne() const;
  Status MakeDispatcher(LoadedModel loaded);
  void EndWorkers();

  ServingContext& context_;
  const ModelConfig config_;
  const std::string version_;
  std::unique_ptr<Dispatcher> dispatcher_;  // made when the first worker has told the signature
  std::shared_ptr<SampleStream> samples_;
  const DeviceClass device_class_;
  InstanceSet instances_;  // goes before the dispatcher; with kGpu on an accelerator
  const std::unique_ptr<InstanceSet> on_device_;  // kAuto: those on an accelerator; else null
  // Adopted before the first instance; of those on_device_.
  std::shared_ptr<const InstanceForm> first_form_, first_on_device_;
  int planned_ = 1;                           // instances, as the keeper says
  bool holds_cpu_ = true, holds_gpu_ = true;  // kAuto: by Hold()
  bool host_fails_ = false,
       device_fails_ = false;  // the class that is held can't be had: the other stands in
  Time serves_since_{};
  int64_t held_by_one_ = 0;  // bytes, the most seen of an instance of the current form
  bool no_room_ = false;     // calls are refused since there is no memory for an instance
  std::atomic<bool> at_rest_{false};
  std::function<void(Status)> on_ready_;
  bool stopping_ = false;               // Stop() was called
  std::shared_ptr<ModelVersion> self_;  // while workers or alarms may call back

  mutable std::mutex info_mutex_;  // guards what follows
  std::string engine_;
  InstancesState state_;
};

}  // namespace evenkeel
