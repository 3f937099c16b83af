// The metrics of language models as Prometheus text: families of their own, to be put behind those of metrics.h.
// Thread-safety: thread-safe.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "llm/llm_model.h"

namespace evenkeel {

// Empty without models.
std::string RenderLanguageMetrics(const std::vector<std::shared_ptr<LlmModel>>& models);

}  // namespace evenkeel
