// A served model's settings as Triton's ModelConfig, both directions, as JSON.
//
// Thread-safety: thread-safe.
#pragma once

#include <nlohmann/json_fwd.hpp>
#include <string_view>

#include "core/model_config.h"
#include "core/status.h"
#include "core/tensor.h"

namespace evenkeel {

// Triton's ModelConfig with the published field names (snake_case), as its /config answers. `signature` is the resolved
// one: `dims` leave its batch axis out, and max_batch_size is 0 when it has none.
nlohmann::json ConfigToTritonJson(const ModelConfig& config, const Signature& signature);

// `config` with the fields that a load request's "config" parameter (JSON of Triton's ModelConfig) gives; what it does not
// give stays. version_policy and default_model_filename are passed over: they choose files, and `config` has its file.
// Errors: kInvalidArgument for malformed JSON, unknown or repeated fields, another model's name, values out of range;
// kUnsupported as for config.pbtxt; kTooLarge over 1 MiB.
Result<ModelConfig> ApplyTritonOverride(const ModelConfig& config, std::string_view json);

}  // namespace evenkeel
