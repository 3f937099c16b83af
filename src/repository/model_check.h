// A look at a model's files before an engine sees them.
//
// Thread-safety: thread-safe. Blocks on the file system.
#pragma once

#include "core/model_config.h"
#include "core/status.h"

namespace evenkeel {

// Ok when config.path holds what its suffix says, whole as far as its structure tells, with everything that belongs to it
// inside config.folder. ONNX and GGUF files are walked (see onnx_check.h, gguf_check.h); the others are looked at more lightly. The engine judges
// the rest. Errors start with the path: kNotFound, kInvalidArgument, kUnsupported, kTooLarge.
Status CheckModelFile(const ModelConfig& config);

}  // namespace evenkeel
