// The registry's ensembles: nothing is loaded for them, and nothing drains: a call holds what it needs.
#include <algorithm>
#include <utility>

#include "core/format.h"
#include "core/log.h"
#include "server/model_registry.h"
#include "server/registry_operation.h"

namespace evenkeel {

void ModelRegistry::StartEnsemble(const std::string& name, std::shared_ptr<Operation> operation) {
  if (operation->configs.size() > 1) {
    operation->failure =
        Unsupported("an ensemble with {} versions; one is served", operation->configs.size());
  } else if (!context_.find_model) {
    operation->failure = Unsupported("ensembles are not served here");
  } else {
    operation->ensemble = std::make_shared<EnsembleModel>(operation->configs.front(),
                                                          context_.clock, context_.find_model);
    Swap(name, *operation);
    LogInfo("ensemble '{}' of {} steps serves", name, operation->configs.front().ensemble.size());
  }
  operation->ensemble = nullptr;
  Finish(name, *operation, operation->failure);
}

std::shared_ptr<EnsembleModel> ModelRegistry::Ensemble(std::string_view name) const {
  const std::shared_lock lock(mutex_);
  const auto at = entries_.find(name);
  return at == entries_.end() ? nullptr : at->second.ensemble;
}

std::vector<std::shared_ptr<EnsembleModel>> ModelRegistry::Ensembles() const {
  std::vector<std::shared_ptr<EnsembleModel>> found;
  const std::shared_lock lock(mutex_);
  for (const auto& [name, entry] : entries_) {
    if (entry.ensemble) found.push_back(entry.ensemble);
  }
  return found;
}

}  // namespace evenkeel
