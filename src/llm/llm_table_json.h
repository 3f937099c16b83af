// A language model's load table as JSON: on disk, and for GET /v2/models/M/batching.
//
// {"schema": "evenkeel.llm-load-table/v1", "rows": [{"threads", "sequences", "depth", "prompt_tokens", "step_ms", "spread_ms", "steps"}],
//  "memory": {"weight_bytes", "cell_bytes", "other_bytes"}, "chosen": {"slots", "cells"}}
// Thread-safety: thread-safe.
#pragma once

#include <nlohmann/json_fwd.hpp>
#include <string_view>

#include "core/status.h"
#include "llm/policy/llm_load_table.h"

namespace evenkeel {

// What a model ran with, so that its next worker begins with it. 0: nothing was chosen.
struct LlmChosenShape {
  int slots = 0;
  int64_t cells = 0;
};

struct KeptLlmTable {
  policy::LlmLoadTable table;
  LlmChosenShape chosen;
};

nlohmann::ordered_json ToJson(const policy::LlmLoadTable& table, const LlmChosenShape& chosen);
// Takes any text. Error kInvalidArgument: what ToJson() writes comes back, and nothing else.
Result<KeptLlmTable> LlmTableFromJson(std::string_view text);

}  // namespace evenkeel
