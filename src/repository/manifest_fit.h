// Whether the settings that a model's files give can mean anything for it.
//
// Thread-safety: thread-safe.
#pragma once

#include "core/model_config.h"
#include "core/status.h"
#include "repository/manifest_yaml.h"

namespace evenkeel {

// Ok unless a language model is given a key that speaks of tensors or their batches, or another model the key 'language'.
// Error kInvalidArgument "SOURCE:LINE:COLUMN: KEY: ...", with what to say instead.
Status CheckKeysFit(const Manifest& manifest, bool is_language);

// The same for what a config.pbtxt says.
Status CheckTritonFits(const ModelConfig& config, bool is_language);

}  // namespace evenkeel
