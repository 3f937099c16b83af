// One load or unload of a model on its way through the registry: for model_registry*.cc only.
// Thread-safety: single-owner: the files thread while it reads, then the loop.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "core/model_config.h"
#include "server/instance_form.h"
#include "server/model_registry.h"

namespace evenkeel {

// ModelConfig::engine of language models.
inline constexpr std::string_view kLanguageEngine = "llamacpp";

// One load or unload on its way.
struct ModelRegistry::Operation {
  bool load = true;
  std::string config_override;
  std::function<void(Status)> done;
  bool listed = true;                                   // the folder has a model of that name
  std::vector<ModelConfig> configs;                     // what the files said
  std::vector<std::vector<InstanceForm>> forms;         // what each ran on before
  std::vector<std::shared_ptr<ModelVersion>> versions;  // being loaded
  std::shared_ptr<LlmModel> language;                   // being loaded
  std::shared_ptr<EnsembleModel> ensemble;              // to be served
  size_t pending = 0;
  Status failure;
};

}  // namespace evenkeel
