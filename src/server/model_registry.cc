#include "server/model_registry.h"

#include <algorithm>
#include <chrono>
#include <limits>
#include <utility>

#include "core/check.h"
#include "core/format.h"
#include "core/log.h"
#include "core/parse.h"
#include "repository/ensemble.h"
#include "repository/model_check.h"
#include "repository/scan.h"
#include "repository/triton_config.h"
#include "server/registry_operation.h"
#include "server/self_profile.h"

namespace evenkeel {

namespace {
constexpr Duration kLookAtEnsembles = std::chrono::milliseconds(10);
}  // namespace

ModelRegistry::ModelRegistry(ServingContext& context, std::string models_folder)
    : context_(context), folder_(std::move(models_folder)) {}

void ModelRegistry::LoadAll(std::function<void()> done) {
  files_.Post([this, done = std::move(done)]() mutable {
    auto found = ScanModels(folder_);
    context_.loop.Post([this, found = std::move(found), done = std::move(done)] {
      auto left = std::make_shared<size_t>(found.size() + 1);
      const auto one_less = [this, left, done] {
        if (--*left > 0) return;
        started_.store(true, std::memory_order_release);
        if (!shutting_down_) done();  // it looks at listeners, which may be gone by then
      };
      for (const FoundModel& model : found) {
        LoadAsync(model.name, "", [one_less](const Status&) { one_less(); });
      }
      one_less();
    });
  });
}

void ModelRegistry::LoadAsync(std::string name, std::string config_override,
                              std::function<void(Status)> done) {
  auto operation = std::make_shared<Operation>();
  operation->config_override = std::move(config_override);
  operation->done = std::move(done);
  context_.loop.Post([this, name = std::move(name), operation] { Enqueue(name, operation); });
}

void ModelRegistry::UnloadAsync(std::string name, std::function<void(Status)> done) {
  auto operation = std::make_shared<Operation>();
  operation->load = false;
  operation->done = std::move(done);
  context_.loop.Post([this, name = std::move(name), operation] { Enqueue(name, operation); });
}

void ModelRegistry::Enqueue(std::string name, std::shared_ptr<Operation> operation) {
  if (shutting_down_) return operation->done(Unavailable("the server is shutting down"));
  {
    const std::unique_lock lock(mutex_);
    const auto at = operation->load ? entries_.try_emplace(name).first : entries_.find(name);
    if (at != entries_.end()) at->second.waiting.push_back(operation);
  }
  if (!Known(name)) return operation->done(NotFound("unknown model '{}'", name));
  RunNext(name);
}

void ModelRegistry::RunNext(const std::string& name) {
  std::shared_ptr<Operation> operation;
  {
    const std::unique_lock lock(mutex_);
    Entry& entry = entries_.find(name)->second;
    if (entry.busy || entry.waiting.empty()) return;
    entry.busy = true;
    operation = entry.waiting.front();
    entry.waiting.pop_front();
  }
  if (!operation->load) return Unload(name, operation);
  load_queue_.push_back([this, name, operation] { Read(name, operation); });
  StartLoads();
}

void ModelRegistry::Note(const std::string& name, std::string state, std::string reason) {
  const std::unique_lock lock(mutex_);
  Entry& entry = entries_.find(name)->second;
  entry.state = std::move(state);
  entry.reason = std::move(reason);
}

// Files are read on their own thread; a hostile one is refused before an engine sees it.
void ModelRegistry::Read(const std::string& name, std::shared_ptr<Operation> operation) {
  {
    const std::unique_lock lock(mutex_);
    Entry& entry = entries_.find(name)->second;
    if (!Serves(entry)) entry.state = "LOADING";
    entry.reason.clear();
    // A model that is added later does not make a serving server unready.
    entry.wanted = !started() || Serves(entry);
  }
  files_.Post([this, name, operation] {
    auto found = FindModel(folder_, name);
    operation->failure = found.ok() ? found->status : found.status();
    operation->listed = found.ok() || found.status().code() != Code::kNotFound;
    if (operation->failure.ok()) operation->configs = std::move(found->versions);
    const auto wants_device = [](const ModelConfig& config) {
      return config.device != DeviceClass::kCpu;
    };
    if (context_.accelerators != nullptr && std::ranges::any_of(operation->configs, wants_device))
      context_.accelerators->Find();
    for (ModelConfig& config : operation->configs) {
      if (!operation->failure.ok()) break;
      if (!operation->config_override.empty()) {
        auto changed = ApplyTritonOverride(config, operation->config_override);
        if (changed.ok()) config = std::move(*changed);
        if (!changed.ok())
          operation->failure = changed.status().Annotate(fmt::format("model '{}'", name));
      }
      const bool ensemble = config.engine == kEnsembleEngine;
      if (operation->failure.ok() && !ensemble) operation->failure = CheckModelFile(config);
      operation->forms.push_back(operation->failure.ok() && context_.profile != nullptr &&
                                         config.engine != kLanguageEngine && !ensemble
                                     ? context_.profile->StartForms(config)
                                     : std::vector<InstanceForm>());
    }
    context_.loop.Post([this, name, operation] { StartVersions(name, operation); });
  });
}

void ModelRegistry::StartVersions(const std::string& name, std::shared_ptr<Operation> operation) {
  if (shutting_down_) operation->failure = Unavailable("the server is shutting down");
  if (operation->failure.ok() && operation->configs.empty()) {
    operation->failure = InvalidArgument("model '{}' has no version to serve", name);
  }
  if (!operation->failure.ok()) {
    // A model that was only asked for, and is not there, leaves no trace.
    return Finish(name, *operation, operation->failure);
  }
  if (operation->configs.front().engine == kLanguageEngine) return StartLanguage(name, operation);
  if (operation->configs.front().engine == kEnsembleEngine) return StartEnsemble(name, operation);
  operation->pending = operation->configs.size();
  for (size_t i = 0; i < operation->configs.size(); ++i) {
    operation->versions.push_back(std::make_shared<ModelVersion>(context_, operation->configs[i]));
    for (const InstanceForm& form : operation->forms[i]) operation->versions.back()->Adopt(form);
  }
  starting_.insert(starting_.end(), operation->versions.begin(), operation->versions.end());
  for (size_t i = 0; i < operation->configs.size(); ++i) StartVersion(name, operation, i);
}

void ModelRegistry::StartVersion(const std::string& name, std::shared_ptr<Operation> operation,
                                 size_t i) {
  ModelVersion& version = *operation->versions[i];
  version.Start([this, name, operation, i](const Status& status) {
    std::erase(starting_, operation->versions[i]);
    if (!status.ok() && !operation->forms[i].empty() && !shutting_down_) {
      // What it ran on before may be what it does not load on.
      LogWarning("model '{}' does not load on {} ({}): it is tried as its settings say", name,
                 operation->forms[i].front().Name(), status.message());
      operation->forms[i].clear();
      const ModelConfig& config = operation->configs[i];
      files_.Post([profile = context_.profile, config] { profile->ForgetForms(config); });
      operation->versions[i] = std::make_shared<ModelVersion>(context_, config);
      starting_.push_back(operation->versions[i]);
      return StartVersion(name, operation, i);
    }
    if (!status.ok()) {
      if (operation->failure.ok()) operation->failure = status;
      operation->versions[i] = nullptr;  // it has stopped itself
    }
    if (--operation->pending > 0) return;
    if (operation->failure.ok() && !shutting_down_) {
      Swap(name, *operation);
    } else {
      for (auto& one : operation->versions) {
        if (one) Retire(std::move(one), [] {});
      }
    }
    Finish(name, *operation, operation->failure);
  });
}

void ModelRegistry::Swap(const std::string& name, Operation& operation) {
  ServedByNumber old;
  ServedLanguage old_language;
  {
    const std::unique_lock lock(mutex_);
    Entry& entry = entries_.find(name)->second;
    old.swap(entry.serving);
    old_language = std::exchange(entry.language, {});
    entry.ensemble = operation.ensemble;
    for (auto& version : operation.versions)
      entry.serving[version->config().version] = Serve(version);
    if (operation.language) entry.language = ServeLanguage(operation.language);
  }
  for (auto& version : operation.versions) {
    LogInfo("model '{}' version {} serves", name, version->version());
  }
  operation.versions.clear();
  // Their tenures end with the last call that found one of them: at the earliest here.
  for (const auto& [number, served] : old) replaced_.push_back(served.version);
  if (old_language.model) replaced_languages_.push_back(old_language.model);
}

ModelRegistry::Served ModelRegistry::Serve(std::shared_ptr<ModelVersion> version) {
  // Whoever lets go last may be any thread.
  auto tenure = std::make_shared<Tenure>([this, version] {
    context_.loop.Post([this, version] {
      // Unloaded or shut down: it drains already.
      if (std::erase(replaced_, version) > 0) Retire(version, [] {});
    });
  });
  return {std::move(version), std::move(tenure)};
}

void ModelRegistry::Retire(std::shared_ptr<ModelVersion> version, std::function<void()> done) {
  retiring_.push_back(version);
  version->Stop([this, version, done = std::move(done)] {
    std::erase(retiring_, version);
    done();
    MaybeShutDown();
  });
}

void ModelRegistry::Unload(const std::string& name, std::shared_ptr<Operation> operation) {
  ServedByNumber old;
  ServedLanguage old_language;
  {
    const std::unique_lock lock(mutex_);
    Entry& entry = entries_.find(name)->second;
    entry.state = Serves(entry) ? "UNLOADING" : "UNAVAILABLE";
    old.swap(entry.serving);
    old_language = std::exchange(entry.language, {});
    entry.ensemble = nullptr;
    entry.reason = "unloaded";
    entry.wanted = false;
  }
  auto left = std::make_shared<size_t>(old.size() + (old_language.model ? 1 : 0) + 1);
  const auto one_less = [this, name, operation, left] {
    if (--*left > 0) return;
    Note(name, "UNAVAILABLE", "unloaded");
    LogInfo("model '{}' is unloaded", name);
    Finish(name, *operation, Status::Ok());
  };
  for (const auto& [number, served] : old) Retire(served.version, one_less);
  if (old_language.model) RetireLanguage(old_language.model, one_less);
  // Not at once: many unloads in a row of a model that is gone would nest.
  context_.loop.Post(one_less);
}

void ModelRegistry::Finish(const std::string& name, Operation& operation, const Status& status) {
  if (operation.load) {
    --loading_;
    const std::unique_lock lock(mutex_);
    Entry& entry = entries_.find(name)->second;
    if (!status.ok()) entry.reason = status.message();
    // A broken model is shown, and does not make the others' server unready.
    entry.wanted = Serves(entry);
    entry.state = Serves(entry) ? "READY" : "UNAVAILABLE";
  }
  if (!status.ok() && shutting_down_) {
    LogInfo("model '{}' is given up: {}", name, status.message());
  } else if (!status.ok()) {
    LogError("model '{}' does not load: {}", name, status.message());
  }
  operation.done(status);
  bool forget = false;
  {
    const std::unique_lock lock(mutex_);
    Entry& entry = entries_.find(name)->second;
    entry.busy = false;
    // Names that were asked for but never existed must not pile up. One that lacks a version or a file is there, and says so.
    forget = operation.load && !operation.listed && !Serves(entry) && entry.waiting.empty();
    if (forget) entries_.erase(name);
  }
  if (!forget) RunNext(name);
  StartLoads();
  MaybeShutDown();
}

void ModelRegistry::StartLoads() {
  while (loading_ < kLoadsAtOnce && !load_queue_.empty()) {
    ++loading_;
    auto next = std::move(load_queue_.front());
    load_queue_.pop_front();
    next();
  }
}

void ModelRegistry::Shutdown(std::function<void()> done) {
  shutting_down_ = true;
  shut_down_ = std::move(done);
  {
    const std::unique_lock lock(mutex_);
    for (auto& [name, entry] : entries_) {
      if (!entry.ensemble) continue;
      ending_.push_back(std::exchange(entry.ensemble, nullptr));
      entry.wanted = false;
      entry.state = "UNAVAILABLE";
      entry.reason = "the server is shutting down";
    }
  }
  if (ending_.empty()) return RetireAll();
  look_at_ensembles_ = context_.loop.MakeAlarm([this] { EndEnsembles(); });
  // Not at once: whoever has found one a moment ago hands it its call now.
  look_at_ensembles_->Set(context_.clock.Now() + kLookAtEnsembles);
}

// A call between two steps has nothing with any model, and wants the next one's yet.
void ModelRegistry::EndEnsembles() {
  if (retired_) return;
  if (std::ranges::any_of(ending_, [](const auto& one) { return one->open() > 0; }))
    return look_at_ensembles_->Set(context_.clock.Now() + kLookAtEnsembles);
  RetireAll();
}

void ModelRegistry::RetireAll() {
  retired_ = true;
  std::vector<std::shared_ptr<ModelVersion>> serving = std::exchange(replaced_, {});
  std::vector<std::shared_ptr<LlmModel>> languages = std::exchange(replaced_languages_, {});
  std::vector<ServedByNumber> let_go;  // after the mutex
  std::vector<ServedLanguage> let_go_languages;
  {
    const std::unique_lock lock(mutex_);
    for (auto& [name, entry] : entries_) {
      for (const auto& [number, served] : entry.serving) serving.push_back(served.version);
      if (entry.language.model) languages.push_back(entry.language.model);
      let_go.push_back(std::exchange(entry.serving, {}));
      let_go_languages.push_back(std::exchange(entry.language, {}));
      entry.ensemble = nullptr;
      entry.wanted = false;
      entry.state = "UNAVAILABLE";
      entry.reason = "the server is shutting down";
    }
  }
  for (auto& version : serving) Retire(std::move(version), [] {});
  for (auto& version : std::vector(starting_)) Retire(std::move(version), [] {});
  for (auto& language : languages) RetireLanguage(std::move(language), [] {});
  for (auto& language : std::vector(starting_languages_))
    RetireLanguage(std::move(language), [] {});
  MaybeShutDown();
}

void ModelRegistry::MaybeShutDown() {
  const bool gone = replaced_.empty() && retiring_.empty() && replaced_languages_.empty() &&
                    retiring_languages_.empty();
  if (shut_down_ && retired_ && loading_ == 0 && gone) std::exchange(shut_down_, nullptr)();
}

void ModelRegistry::AbandonAll() {
  if (shutting_down_ && !retired_) RetireAll();
  for (const auto& version : std::vector(retiring_)) version->Abandon();
  for (const auto& language : std::vector(retiring_languages_)) language->Abandon();
}

Result<std::shared_ptr<ModelVersion>> ModelRegistry::Find(std::string_view name,
                                                          std::string_view version) const {
  auto found = Look(name, version);
  if (!found.ok()) return found.status();
  return std::move(found->version);
}

Result<std::shared_ptr<ServedModel>> ModelRegistry::FindForCall(std::string_view name,
                                                                std::string_view version) const {
  if (auto ensemble = Ensemble(name)) {
    if (!version.empty() && version != ensemble->version())
      return NotFound("model '{}' has no version {}", name, version);
    return std::shared_ptr<ServedModel>(std::move(ensemble));
  }
  auto found = Look(name, version);
  if (!found.ok()) return found.status();
  return std::shared_ptr<ServedModel>(
      std::make_shared<Lease>(std::move(found->version), std::move(found->tenure)));
}

Result<ModelRegistry::Served> ModelRegistry::Look(std::string_view name,
                                                  std::string_view version) const {
  const std::shared_lock lock(mutex_);
  const auto at = entries_.find(name);
  if (at == entries_.end()) return NotFound("unknown model '{}'", name);
  if (at->second.ensemble) return InvalidArgument("model '{}' is an ensemble of others", name);
  if (at->second.language.model)
    return InvalidArgument("model '{}' is a language model: it takes texts under /v1", name);
  const auto& serving = at->second.serving;
  if (version.empty()) {
    if (!serving.empty()) return serving.rbegin()->second;
  } else {
    const auto number = ParseInt(version, 1, std::numeric_limits<int64_t>::max());
    if (!number.ok()) return number.status().Annotate(fmt::format("model '{}': version", name));
    if (const auto found = serving.find(*number); found != serving.end()) return found->second;
    if (!serving.empty()) return NotFound("model '{}' has no version {}", name, version);
  }
  if (at->second.state == "LOADING") return Unavailable("model '{}' is loading", name);
  return Unavailable("model '{}' is not ready: {}", name, at->second.reason);
}

Result<std::vector<std::shared_ptr<ModelVersion>>> ModelRegistry::Serving(
    std::string_view name, std::string_view version) const {
  std::vector<std::shared_ptr<ModelVersion>> found;
  if (!name.empty()) {
    if (!version.empty()) {
      auto one = Find(name, version);
      if (!one.ok()) return one.status();
      found.push_back(std::move(*one));
      return found;
    }
    const auto newest = Find(name, "");
    if (!newest.ok()) return newest.status();
  }
  const std::shared_lock lock(mutex_);
  for (const auto& [model, entry] : entries_) {
    if (!name.empty() && model != name) continue;
    for (const auto& [number, served] : entry.serving) found.push_back(served.version);
  }
  return found;
}

std::vector<RepositoryEntry> ModelRegistry::Index(bool ready_only) const {
  std::vector<RepositoryEntry> index;
  const std::shared_lock lock(mutex_);
  for (const auto& [name, entry] : entries_) {
    for (const auto& [number, served] : entry.serving) {
      const bool available = served.version->available();
      index.push_back({name, served.version->version(), available ? "READY" : "UNAVAILABLE",
                       available ? entry.reason : "no worker is up"});
    }
    if (entry.language.model) {
      const bool available = entry.language.model->available();
      index.push_back({name, "1", available ? "READY" : "UNAVAILABLE",
                       available ? entry.reason : "no worker is up"});
    }
    if (entry.ensemble) index.push_back({name, entry.ensemble->version(), "READY", entry.reason});
    if (!Serves(entry)) index.push_back({name, "", entry.state, entry.reason});
  }
  if (ready_only) std::erase_if(index, [](const RepositoryEntry& e) { return e.state != "READY"; });
  return index;
}

bool ModelRegistry::Ready(std::vector<std::string>* why) const {
  bool ready = started();
  if (!ready && why) why->push_back("models are still loading");
  const std::shared_lock lock(mutex_);
  for (const auto& [name, entry] : entries_) {
    if (!entry.wanted) {
      if (why && entry.reason != "unloaded")
        why->push_back(fmt::format("model '{}': {}", name, entry.reason));
      continue;
    }
    // What its steps need is theirs to say.
    const bool language =
        entry.ensemble || (entry.language.model && entry.language.model->available());
    const bool serves = language || std::ranges::any_of(entry.serving, [](const auto& v) {
                          return v.second.version->available();
                        });
    const bool rests = serves && !language && std::ranges::all_of(entry.serving, [](const auto& v) {
                         return v.second.version->at_rest();
                       });
    if (rests && why) why->push_back(fmt::format("model '{}': idle (0 instances), ready", name));
    if (serves) continue;
    ready = false;
    if (why) why->push_back(fmt::format("model '{}': {} {}", name, entry.state, entry.reason));
  }
  return ready;
}

bool ModelRegistry::Known(std::string_view name) const {
  const std::shared_lock lock(mutex_);
  return entries_.find(name) != entries_.end();
}

}  // namespace evenkeel
