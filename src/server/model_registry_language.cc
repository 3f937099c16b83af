// The registry's language models: the same life as a version's, with one process that runs all calls.
#include <algorithm>
#include <utility>

#include "core/format.h"
#include "core/log.h"
#include "server/model_registry.h"
#include "server/registry_operation.h"

namespace evenkeel {
namespace {

// A front end's hold on a language model: while it has it, a model that was replaced takes calls.
class LanguageLease final : public LanguageModel {
 public:
  LanguageLease(std::shared_ptr<LlmModel> model, std::shared_ptr<const Tenure> tenure)
      : model_(std::move(model)), tenure_(std::move(tenure)) {}

  LanguageModelInfo Info() const override { return model_->Info(); }
  void Generate(GenerationCall* call) override { model_->Generate(call); }
  void Cancel(GenerationCall* call) override { model_->Cancel(call); }
  void Embed(EmbeddingCall* call) override { model_->Embed(call); }
  void CancelEmbedding(EmbeddingCall* call) override { model_->CancelEmbedding(call); }

 private:
  const std::shared_ptr<LlmModel> model_;
  const std::shared_ptr<const Tenure> tenure_;
};

LlmOptions OptionsOf(const ModelConfig& config, const ServingContext& context) {
  LlmOptions options;
  options.name = config.name;
  options.path = config.path;
  options.folder = FolderOf(config);
  options.threads = config.threads > 0 ? config.threads : context.default_threads;
  options.tuned = true;
  options.fixed_threads = config.threads > 0;
  options.hard_cores = config.hard_cores.value_or(context.hard_cores);
  if (config.profile) options.measure_after = context.language_measure_after;
  if (!config.language) return options;
  const LanguageConfig& language = *config.language;
  options.context = language.context_tokens;
  if (language.sequences > 0) options.slots = language.sequences;
  options.cells = language.cache_tokens;
  options.pooling = language.pooling;
  options.fixed_slots = language.sequences > 0;
  options.fixed_cells = language.cache_tokens > 0;
  options.stated_first_token = language.time_to_first_token;
  options.stated_inter_token = language.inter_token;
  if (language.inter_token) options.inter_token = *language.inter_token;
  // Who would wait for ten times the objective is refused, as with other models.
  if (language.time_to_first_token)
    options.longest_wait = std::min(options.longest_wait, 10 * *language.time_to_first_token);
  return options;
}

}  // namespace

void ModelRegistry::StartLanguage(const std::string& name, std::shared_ptr<Operation> operation) {
  if (operation->configs.size() > 1) {
    operation->failure =
        Unsupported("a language model with {} versions; one is served", operation->configs.size());
    return Finish(name, *operation, operation->failure);
  }
  LlmContext context{context_.loop, context_.clock, context_.runtime, context_.libexec,
                     context_.worker_cpus};
  context.node = context_.node;
  context.tables = context_.language_tables;
  context.free_memory = context_.spare_memory;
  context.cores = context_.cores;
  context.save_power = context_.save_power;
  operation->language = std::make_shared<LlmModel>(std::move(context),
                                                   OptionsOf(operation->configs.front(), context_));
  starting_languages_.push_back(operation->language);
  operation->language->Start([this, name, operation](const Status& status) {
    std::erase(starting_languages_, operation->language);
    operation->failure = status;
    if (status.ok() && !shutting_down_) {
      Swap(name, *operation);
      LogInfo("language model '{}' serves", name);
    } else if (status.ok()) {
      // Shutdown() retired it while it loaded.
      operation->failure = Unavailable("the server is shutting down");
    }
    operation->language = nullptr;
    Finish(name, *operation, operation->failure);
  });
}

ModelRegistry::ServedLanguage ModelRegistry::ServeLanguage(std::shared_ptr<LlmModel> model) {
  // Whoever lets go last may be any thread.
  auto tenure = std::make_shared<Tenure>([this, model] {
    context_.loop.Post([this, model] {
      // Unloaded or shut down: it drains already.
      if (std::erase(replaced_languages_, model) > 0) RetireLanguage(model, [] {});
    });
  });
  return {std::move(model), std::move(tenure)};
}

void ModelRegistry::RetireLanguage(std::shared_ptr<LlmModel> model, std::function<void()> done) {
  retiring_languages_.push_back(model);
  model->Stop([this, model, done = std::move(done)] {
    std::erase(retiring_languages_, model);
    done();
    MaybeShutDown();
  });
}

Result<std::shared_ptr<LanguageModel>> ModelRegistry::FindLanguage(std::string_view name) const {
  const std::shared_lock lock(mutex_);
  const auto at = entries_.find(name);
  if (at == entries_.end()) return NotFound("unknown model '{}'", name);
  const Entry& entry = at->second;
  if (entry.language.model) {
    return std::shared_ptr<LanguageModel>(
        std::make_shared<LanguageLease>(entry.language.model, entry.language.tenure));
  }
  if (!entry.serving.empty() || entry.ensemble)
    return NotFound("model '{}' is no language model", name);
  if (entry.state == "LOADING") return Unavailable("model '{}' is loading", name);
  return Unavailable("model '{}' is not ready: {}", name, entry.reason);
}

std::vector<std::shared_ptr<LlmModel>> ModelRegistry::Languages() const {
  std::vector<std::shared_ptr<LlmModel>> found;
  const std::shared_lock lock(mutex_);
  for (const auto& [name, entry] : entries_) {
    if (entry.language.model) found.push_back(entry.language.model);
  }
  return found;
}

}  // namespace evenkeel
