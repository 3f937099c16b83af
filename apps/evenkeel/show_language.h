// What `evenkeel show` says of a language model: what its file holds, and what it runs on and why.
//
// Thread-safety: main thread only.
#pragma once

#include <nlohmann/json_fwd.hpp>

namespace evenkeel {

// `model`: as the server describes it, with "language".
void PrintLanguage(const nlohmann::ordered_json& model);
// The rows of answers of its load table. `batching`: of GET /v2/models/M/batching.
void PrintStepTimes(const nlohmann::ordered_json& batching);

}  // namespace evenkeel
