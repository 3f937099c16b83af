// A language model as JSON, for `ls`, `ps` and `show`: the fields of describe.h where they mean something, and `language` for its own.
// Thread-safety: thread-safe.
#pragma once

#include <nlohmann/json_fwd.hpp>

#include "llm/llm_model.h"

namespace evenkeel {

nlohmann::json DescribeLanguage(const LlmModel& model);
// For GET .../batching: what it runs on and why, what is forecast, and its load table.
nlohmann::json DescribeLanguageBatching(const LlmModel& model);

}  // namespace evenkeel
