// A Service for front-end tests: a few identity models, scripted errors, calls that wait until
// told.
//
// Models: "echo" (x FP32 [-1,4] -> y, class names zero..three), "text" (s BYTES [-1,1] -> t), "ids"
//   (ids INT64 [-1,3] -> out, ids 0..99), "types" (one input and output of each data type but
//   BYTES, [2], no batch axis: "in_fp32" -> "out_fp32"). "loading" is known but not ready. Language
//   models: "chatty" (chats, 1,000 tokens of context, ids below 100), "base" (no chat template),
//   "vectors" (embeddings only). Every
//   output is the input at the same index, given back from a buffer that is overwritten as soon as
//   Done() returns, so that a front end that keeps a view is caught.
// Thread-safety: thread-safe, but for the scripts, which a test sets before it calls.
#pragma once

#include <atomic>
#include <cctype>
#include <cstring>
#include <mutex>
#include <nlohmann/json.hpp>
#include <utility>

#include "core/format.h"
#include "frontends/fake_language_model.h"
#include "frontends/service.h"

namespace evenkeel {

class FakeModel final : public ServedModel {
  template <typename F>
  auto Locked(F f) const {
    const std::lock_guard lock(mutex_);
    return f();
  }

 public:
  FakeModel(std::string name, Signature signature)
      : name_(std::move(name)), signature_(std::move(signature)) {}

  const std::string& name() const override { return name_; }
  const std::string& version() const override { return version_; }
  const Signature& signature() const override { return signature_; }

  void Infer(InferCall* call) override {
    {
      const std::lock_guard lock(mutex_);
      ++calls_;
      last_priority_ = call->priority;
      last_deadline_ = call->deadline;
      if (hold_) {
        held_.push_back(call);
        return;
      }
    }
    Answer(call);
  }

  void Cancel(InferCall* call) override {
    {
      const std::lock_guard lock(mutex_);
      ++cancels_;
      if (std::erase(held_, call) == 0) return;
    }
    call->Done(Cancelled("model '{}': cancelled", name_), {}, {});
  }

  // While set, calls wait for Release() or Cancel().
  void Hold(bool hold) {
    const std::lock_guard lock(mutex_);
    hold_ = hold;
  }
  // Answers every held call on the caller's thread.
  void Release() {
    std::vector<InferCall*> held;
    {
      const std::lock_guard lock(mutex_);
      held.swap(held_);
    }
    for (InferCall* call : held) Answer(call);
  }
  // Every later call gets `error` (ok: answers again).
  void Fail(Status error) {
    const std::lock_guard lock(mutex_);
    error_ = std::move(error);
  }
  size_t held() const {
    return Locked([this] { return held_.size(); });
  }
  int calls() const {
    return Locked([this] { return calls_; });
  }
  int cancels() const {
    return Locked([this] { return cancels_; });
  }
  int last_priority() const {
    return Locked([this] { return last_priority_; });
  }
  Time last_deadline() const {
    return Locked([this] { return last_deadline_; });
  }

 private:
  void Answer(InferCall* call) {
    const Status error = Locked([this] { return error_; });
    if (!error.ok()) {
      call->Done(error, {}, {});
      return;
    }
    std::vector<std::string> copies(signature_.outputs.size());
    std::vector<TensorView> outputs(signature_.outputs.size());
    if (call->inputs.size() != signature_.inputs.size()) {
      call->Done(InvalidArgument("model '{}': expected {} inputs, got {}", name_,
                                 signature_.inputs.size(), call->inputs.size()),
                 {}, {});
      return;
    }
    for (const TensorView& in : call->inputs) {
      if (in.dtype != signature_.inputs[in.spec].dtype) {
        call->Done(InvalidArgument("model '{}': input '{}': expected {}, got {}", name_,
                                   signature_.inputs[in.spec].name,
                                   NameOf(signature_.inputs[in.spec].dtype), NameOf(in.dtype)),
                   {}, {});
        return;
      }
      copies[in.spec].assign(reinterpret_cast<const char*>(in.data.data()), in.data.size());
      outputs[in.spec] = {in.spec, in.dtype, in.shape, std::as_bytes(std::span(copies[in.spec]))};
    }
    Timings timings;
    timings.queue = std::chrono::microseconds(1500);
    timings.batch = std::chrono::microseconds(20);
    timings.compute = std::chrono::microseconds(300);
    timings.batch_rows = 1;
    call->Done(Status::Ok(), outputs, timings);
    for (std::string& copy : copies) std::memset(copy.data(), 0xee, copy.size());
  }

  const std::string name_;
  const std::string version_ = "1";
  const Signature signature_;
  mutable std::mutex mutex_;
  std::vector<InferCall*> held_;  // guarded by mutex_, as all below
  Status error_;
  bool hold_ = false;
  int calls_ = 0, cancels_ = 0, last_priority_ = 0;
  Time last_deadline_ = kNever;
};

class FakeService final : public Service {
 public:
  FakeService() {
    Signature echo;
    echo.batched = true;
    echo.max_batch = 64;
    echo.inputs = {Spec("x", DataType::kFp32, {kDynamic, 4})};
    echo.outputs = {Spec("y", DataType::kFp32, {kDynamic, 4})};
    echo.outputs[0].labels = {"zero", "one", "two", "three"};
    Add("echo", std::move(echo));

    Signature text;
    text.batched = true;
    text.max_batch = 8;
    text.inputs = {Spec("s", DataType::kBytes, {kDynamic, 1})};
    text.outputs = {Spec("t", DataType::kBytes, {kDynamic, 1})};
    Add("text", std::move(text));

    Signature ids;
    ids.batched = true;
    ids.max_batch = 8;
    ids.inputs = {Spec("ids", DataType::kInt64, {kDynamic, 3})};
    ids.inputs[0].range = IdRange{0, 99};
    ids.outputs = {Spec("out", DataType::kInt64, {kDynamic, 3})};
    Add("ids", std::move(ids));

    Signature types;
    for (int i = 1; i < kDataTypeCount; ++i) {
      const auto type = static_cast<DataType>(i);
      if (type == DataType::kBytes) continue;
      std::string suffix(NameOf(type));
      for (char& c : suffix) c = static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
      types.inputs.push_back(Spec("in_" + suffix, type, {2}));
      types.outputs.push_back(Spec("out_" + suffix, type, {2}));
    }
    Add("types", std::move(types));

    AddLanguageModel({"base", 1'700'000'001, 1'000, 100, false, false, "llama"});
    AddLanguageModel({"chatty", 1'700'000'000, 1'000, 100, true, false, "llama"});
    AddLanguageModel({"ranks", 1'700'000'003, 512, 100, false, false, "bert", false, true, 0});
    AddLanguageModel({"vectors", 1'700'000'002, 512, 100, false, true, "bert", false, false, 2});
  }

  FakeModel& model(std::string_view name) { return *models_.find(name)->second; }
  FakeLanguageModel& language_model(std::string_view name) {
    return *language_models_.find(name)->second;
  }
  void SetReady(bool ready) { ready_ = ready; }
  void FailLoads(Status error) { load_error_ = std::move(error); }
  std::vector<std::string> actions() const {
    const std::lock_guard lock(mutex_);
    return actions_;
  }  // "load echo {...}", "unload echo", "rm-samples echo"

  Result<std::shared_ptr<ServedModel>> Find(std::string_view name,
                                            std::string_view version) override {
    EK_RETURN_IF_ERROR(Known(name, version));
    if (name == "loading") return Unavailable("model 'loading' is not ready: it is being loaded");
    return std::shared_ptr<ServedModel>(models_.find(name)->second);
  }
  Result<std::shared_ptr<LanguageModel>> FindLanguageModel(std::string_view name) override {
    if (name == "loading") return Unavailable("model 'loading' is not ready: it is being loaded");
    const auto it = language_models_.find(name);
    if (it == language_models_.end()) return NotFound("unknown language model '{}'", name);
    return std::shared_ptr<LanguageModel>(it->second);
  }
  std::vector<LanguageModelInfo> LanguageModels() const override {
    std::vector<LanguageModelInfo> all;
    for (const auto& [name, model] : language_models_) all.push_back(model->Info());
    return all;
  }
  bool Live() const override { return true; }
  bool Ready(std::vector<std::string>* why) const override {
    if (!ready_ && why != nullptr) why->push_back("model 'loading': LOADING");
    return ready_;
  }
  Result<bool> ModelReady(std::string_view name, std::string_view version) const override {
    EK_RETURN_IF_ERROR(Known(name, version));
    return name != "loading";
  }
  Result<ModelMetadata> Metadata(std::string_view name, std::string_view version) const override {
    EK_RETURN_IF_ERROR(Known(name, version));
    if (name == "loading") return Unavailable("model 'loading' is not ready: it is being loaded");
    const Signature& signature = models_.find(name)->second->signature();
    return ModelMetadata{std::string(name), "fake", {"1"}, signature.inputs, signature.outputs};
  }
  Result<nlohmann::json> Config(std::string_view name, std::string_view version) const override {
    EK_RETURN_IF_ERROR(Known(name, version));
    const auto it = models_.find(name);
    nlohmann::json config = {
        {"name", name}, {"platform", "fake"}, {"backend", ""}, {"max_batch_size", 0}};
    if (it != models_.end()) config["max_batch_size"] = it->second->signature().max_batch;
    return config;
  }
  Result<std::vector<ModelStatistics>> Statistics(std::string_view name,
                                                  std::string_view version) const override {
    if (!name.empty()) EK_RETURN_IF_ERROR(Known(name, version));
    std::vector<ModelStatistics> all;
    for (const auto& [key, model] : models_) {
      if (!name.empty() && key != name) continue;
      ModelStatistics s;
      s.name = key;
      s.version = "1";
      s.inference_count = s.execution_count = static_cast<uint64_t>(model->calls());
      s.success = {s.inference_count, s.inference_count * 1000};
      s.batch_stats.push_back({1, s.success, s.success, s.success});
      all.push_back(std::move(s));
    }
    return all;
  }
  std::vector<RepositoryEntry> RepositoryIndex(bool ready_only) const override {
    std::vector<RepositoryEntry> entries;
    for (const auto& [key, model] : models_) entries.push_back({key, "1", "READY", ""});
    if (!ready_only) entries.push_back({"loading", "", "LOADING", ""});
    return entries;
  }
  void LoadAsync(std::string name, std::string config_override,
                 std::function<void(Status)> done) override {
    Note("load " + name + (config_override.empty() ? "" : " " + config_override));
    done(load_error_.ok() ? Known(name, "") : load_error_);
  }
  void UnloadAsync(std::string name, std::function<void(Status)> done) override {
    Note("unload " + name);
    done(load_error_.ok() ? Known(name, "") : load_error_);
  }
  nlohmann::json Describe() const override {
    nlohmann::json models = nlohmann::json::array();
    for (const auto& [key, model] : models_) models.push_back({{"name", key}});
    return {{"schema", "evenkeel.models/v1"},
            {"node", {{"cores", 2}}},
            {"models", models},
            {"cluster", {{"here", "b"}}}};
  }
  Result<nlohmann::json> DescribeModel(std::string_view name) const override {
    EK_RETURN_IF_ERROR(Known(name, ""));
    return nlohmann::json{{"name", name}};
  }
  Result<nlohmann::json> DescribeBatching(std::string_view name,
                                          std::string_view version) const override {
    EK_RETURN_IF_ERROR(Known(name, version));
    return nlohmann::json{{"model", name}, {"policy", "auto"}};
  }
  std::vector<SampleSummary> Samples() const override { return {{"echo", "x:FP32[4]", 10, 2, 32}}; }
  Result<std::string> ExportSamples(std::string_view model) const override {
    EK_RETURN_IF_ERROR(Known(model, ""));
    return std::string("\x02\0\0\0\0\0\0\0{}", 10);
  }
  Status RemoveSamples(std::string_view model) override {
    if (!model.empty()) EK_RETURN_IF_ERROR(Known(model, ""));
    Note("rm-samples " + std::string(model));
    return Status::Ok();
  }
  std::string MetricsText() const override { return "# TYPE evenkeel_up gauge\nevenkeel_up 1\n"; }

 private:
  static TensorSpec Spec(std::string name, DataType type, Shape shape) {
    TensorSpec spec;
    spec.name = std::move(name);
    spec.dtype = type;
    spec.shape = shape;
    return spec;
  }
  void Note(std::string action) {
    const std::lock_guard lock(mutex_);
    actions_.push_back(std::move(action));
  }
  void Add(const std::string& name, Signature signature) {
    models_[name] = std::make_shared<FakeModel>(name, std::move(signature));
  }
  Status Known(std::string_view name, std::string_view version) const {
    if (name != "loading" && models_.find(name) == models_.end())
      return NotFound("unknown model '{}'", name);
    if (!version.empty() && version != "1")
      return NotFound("model '{}' has no version {}", name, version);
    return Status::Ok();
  }

  void AddLanguageModel(LanguageModelInfo info) {
    const std::string name = info.name;
    language_models_[name] = std::make_shared<FakeLanguageModel>(std::move(info));
  }

  std::map<std::string, std::shared_ptr<FakeModel>, std::less<>> models_;
  std::map<std::string, std::shared_ptr<FakeLanguageModel>, std::less<>> language_models_;
  mutable std::mutex mutex_;
  std::vector<std::string> actions_;  // guarded by mutex_: calls come on any thread
  Status load_error_;
  std::atomic<bool> ready_{true};  // atomic: watchers read it while a test sets it
};

}  // namespace evenkeel
