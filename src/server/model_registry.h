// Which models there are, which versions of them serve, and how they come and go without dropping a request.
//
// Contract: operations on one model run one after the other, in the order asked; those on different models side by side, at most
//   kLoadsAtOnce loading. A load of a model that serves is a reload: the new versions are warm before they replace the old, which then answer
//   what they accepted and go. A failed load leaves what served before. Whoever leased a version before it was replaced can still
//   hand it the call: a replaced version drains when its tenure ends. One that is unloaded refuses at once.
// Thread-safety: Find() and the queries are thread-safe; LoadAsync/UnloadAsync too. `done` callbacks come on the loop.
#pragma once

#include <atomic>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <shared_mutex>
#include <string>
#include <string_view>
#include <vector>

#include "core/event_loop.h"
#include "core/generation.h"
#include "core/status.h"
#include "frontends/service.h"
#include "llm/llm_model.h"
#include "server/ensemble_model.h"
#include "server/lease.h"
#include "server/model_version.h"
#include "server/task_thread.h"

namespace evenkeel {

class ModelRegistry {
 public:
  ModelRegistry(ServingContext& context, std::string models_folder);

  // Starts loading everything in the folder; `done` is called on the loop when all have succeeded or failed.
  void LoadAll(std::function<void()> done);
  void LoadAsync(std::string name, std::string config_override, std::function<void(Status)> done);
  void UnloadAsync(std::string name, std::function<void(Status)> done);
  // Unloads all, refusing new work at once; where calls of ensembles are under way, their steps' models only once those have ended. `done` is called on the loop when every accepted call was answered and all workers ended.
  void Shutdown(std::function<void()> done);
  // Answers what still waits with kUnavailable, so that Shutdown() can end. On the loop.
  void AbandonAll();

  // Errors: kNotFound (unknown name or version), kUnavailable (known, not ready).
  Result<std::shared_ptr<ModelVersion>> Find(std::string_view name, std::string_view version) const;
  // The same, to hand it one call.
  Result<std::shared_ptr<ServedModel>> FindForCall(std::string_view name,
                                                   std::string_view version) const;
  // Serving versions of a model, or of all (name ""), by name and ascending version. Error kNotFound.
  Result<std::vector<std::shared_ptr<ModelVersion>>> Serving(std::string_view name,
                                                             std::string_view version) const;
  // Errors: kNotFound (unknown, or no language model), kUnavailable (known, not ready). Whoever holds it can hand it calls.
  Result<std::shared_ptr<LanguageModel>> FindLanguage(std::string_view name) const;
  std::vector<std::shared_ptr<LlmModel>> Languages() const;              // that serve, by name
  std::shared_ptr<EnsembleModel> Ensemble(std::string_view name) const;  // null: there is none
  std::vector<std::shared_ptr<EnsembleModel>> Ensembles() const;         // by name
  std::vector<RepositoryEntry> Index(bool ready_only) const;
  // The models found at start were loaded or given up, and those that serve have a worker up. A broken
  // model does not make the others' server unready. `why` gets a line a model that does not serve.
  bool Ready(std::vector<std::string>* why) const;
  bool Known(std::string_view name) const;
  const ServingContext& context() const { return context_; }
  bool started() const { return started_.load(std::memory_order_acquire); }

 private:
  static constexpr int kLoadsAtOnce = 4;

  struct Operation;
  struct Served {
    std::shared_ptr<ModelVersion> version;
    std::shared_ptr<const Tenure> tenure;  // ends after it was replaced: then it drains
  };
  using ServedByNumber = std::map<int64_t, Served>;
  struct ServedLanguage {
    std::shared_ptr<LlmModel> model;
    std::shared_ptr<const Tenure> tenure;
  };
  struct Entry {
    ServedByNumber serving;
    ServedLanguage language;                  // a model has versions that serve, or this,
    std::shared_ptr<EnsembleModel> ensemble;  // or this, or none of the three
    std::string state = "UNAVAILABLE";
    std::string reason = "unloaded";
    bool wanted = false;          // should serve: counts for readiness
    std::string config_override;  // of the latest load
    std::deque<std::shared_ptr<Operation>> waiting;
    bool busy = false;
  };
  using Entries = std::map<std::string, Entry, std::less<>>;

  void Enqueue(std::string name, std::shared_ptr<Operation> operation);
  void RunNext(const std::string& name);
  void StartLoads();
  void MaybeShutDown();
  // Of Shutdown(): once no call of an ensemble is under way, everything is unloaded.
  void EndEnsembles();
  void RetireAll();
  static bool Serves(const Entry& entry) {
    return !entry.serving.empty() || entry.language.model || entry.ensemble;
  }
  // model_registry_ensemble.cc
  void StartEnsemble(const std::string& name, std::shared_ptr<Operation> operation);
  // model_registry_language.cc
  void StartLanguage(const std::string& name, std::shared_ptr<Operation> operation);
  ServedLanguage ServeLanguage(std::shared_ptr<LlmModel> model);
  void RetireLanguage(std::shared_ptr<LlmModel> model, std::function<void()> done);
  void Read(const std::string& name, std::shared_ptr<Operation> operation);
  void StartVersions(const std::string& name, std::shared_ptr<Operation> operation);
  void StartVersion(const std::string& name, std::shared_ptr<Operation> operation, size_t i);
  void Swap(const std::string& name, Operation& operation);
  void Unload(const std::string& name, std::shared_ptr<Operation> operation);
  void Finish(const std::string& name, Operation& operation, const Status& status);
  void Retire(std::shared_ptr<ModelVersion> version, std::function<void()> done);
  Served Serve(std::shared_ptr<ModelVersion> version);
  Result<Served> Look(std::string_view name, std::string_view version) const;
  void Note(const std::string& name, std::string state, std::string reason);

  ServingContext& context_;
  const std::string folder_;
  mutable std::shared_mutex mutex_;  // guards entries_; held for look-ups and swaps only
  Entries entries_;
  std::atomic<bool> started_{false};  // LoadAll has finished
  // The loop's only:
  int loading_ = 0;
  std::deque<std::function<void()>> load_queue_;
  std::vector<std::shared_ptr<ModelVersion>> starting_;
  std::vector<std::shared_ptr<ModelVersion>> replaced_;  // their tenures have not ended yet
  std::vector<std::shared_ptr<ModelVersion>> retiring_;
  std::vector<std::shared_ptr<LlmModel>> starting_languages_, replaced_languages_,
      retiring_languages_;
  bool shutting_down_ = false;
  bool retired_ = false;  // all, in Shutdown()
  std::vector<std::shared_ptr<EnsembleModel>> ending_;
  std::unique_ptr<Alarm> look_at_ensembles_;
  std::function<void()> shut_down_;
  TaskThread files_;  // last: it ends before what its tasks use
};

}  // namespace evenkeel
