// A look at a GGUF file before an engine sees it: is it whole, does it hold a language model, and what does it say of it?
//
// Checked in this order: the structure (gguf_reader.h), that it is one whole model, the tensors against the file
// (gguf_tensor_check.h), the model's sizes (gguf_shape_check.h), the vocabulary (gguf_vocabulary_check.h). Time and memory
// follow the header, never the weights.
// Not for: whether the engine knows the architecture, and the shape of each tensor. The engine says that.
// Errors: kInvalidArgument; kUnsupported for what is well-formed but beyond us (a part of a split model, an adapter, an unknown
// tensor type, another version); kTooLarge. They name the key or tensor, what was expected and what came, and not the file.
// Thread-safety: thread-safe.
#pragma once

#include <string>
#include <string_view>

#include "core/status.h"
#include "repository/gguf_facts.h"

namespace evenkeel {

// Blocks on the file system. Also kNotFound.
Result<GgufFacts> CheckGgufFile(const std::string& path);

// The same for a file in memory.
Result<GgufFacts> CheckGgufBytes(std::string_view bytes);

}  // namespace evenkeel
