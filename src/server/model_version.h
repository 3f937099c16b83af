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
#include <string>
#include <vector>

#include "batching/dispatcher.h"
#include "core/model_config.h"
#include "frontends/service.h"
#include "profiling/sampler.h"
#include "server/restart_policy.h"
#include "server/worker.h"

namespace evenkeel {

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
};

class ModelVersion final : public ServedModel, public std::enable_shared_from_this<ModelVersion> {
 public:
  ModelVersion(ServingContext& context, ModelConfig config);
  ~ModelVersion() override;

  // `on_ready` is called once, on the loop: ok, or why the model can't be served (it is then stopped).
  void Start(std::function<void(Status)> on_ready);
  // Answers what was accepted, then ends the workers. `on_stopped` is called once, on the loop. Call once.
  void Stop(std::function<void()> on_stopped);
  // Hastens Stop(): what still waits is answered kUnavailable.
  void Abandon();

  const std::string& name() const override { return config_.name; }
  const std::string& version() const override { return version_; }
  const Signature& signature() const override { return dispatcher_->signature(); }
  void Infer(InferCall* call) override { dispatcher_->Infer(call); }
  void Cancel(InferCall* call) override { dispatcher_->Cancel(call); }

  const ModelConfig& config() const { return config_; }
  // REQUIRES: on_ready was called with ok.
  ModelStats Stats() const { return dispatcher_->Stats(); }
  std::string_view policy() const { return dispatcher_->policy(); }
  std::optional<NodeScheduler::Outlook> Outlook() const { return dispatcher_->Outlook(); }
  Duration objective() const { return dispatcher_->objective(); }
  // False while no worker is up.
  bool available() const { return workers_up_.load(std::memory_order_relaxed) > 0; }

  struct InstanceInfo {
    int id = 0;
    pid_t pid = 0;
    std::string state;  // "starting", "ready", "waiting to restart"
    uint64_t restarts = 0;
    std::string last_end;  // how the previous worker ended
  };
  std::vector<InstanceInfo> Instances() const;
  std::string EngineInfo() const;  // JSON object, as the worker told it
  int threads() const { return threads_; }

 private:
  struct Slot;  // of one instance: its worker and its restarts

  WorkerOptions OptionsFor(const Slot& slot) const;
  void StartWorker(Slot& slot);
  void OnLoaded(Slot& slot, LoadedModel loaded);
  void OnEnded(Slot& slot, const std::string& how);
  void OnWarm(int id);
  void Ready(const Status& status);
  Status MakeDispatcher(LoadedModel loaded);
  void EndWorkers();
  void SetState(Slot& slot, std::string state);

  ServingContext& context_;
  const ModelConfig config_;
  const std::string version_;
  const int threads_;
  std::unique_ptr<Dispatcher> dispatcher_;  // made when the first worker has told the signature
  std::shared_ptr<SampleStream> samples_;
  std::vector<std::unique_ptr<Slot>> slots_;
  std::function<void(Status)> on_ready_;
  bool stopping_ = false;               // Stop() was called
  bool ended_ = false;                  // no worker is started any more
  std::shared_ptr<ModelVersion> self_;  // while workers or alarms may call back

  std::atomic<int> workers_up_{0};  // read by health checks on any thread
  mutable std::mutex info_mutex_;   // guards infos_, engine_
  std::vector<InstanceInfo> infos_;
  std::string engine_;
};

}  // namespace evenkeel
