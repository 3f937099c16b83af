// One slot's part of a model's cache as bytes, and back (core/sequence_state.h).
//
// Contract: between steps only. The bytes hold the tokens at positions 0 to `tokens` - 1, and nothing else. LoadSlot() lets the engine see bytes only
//   that CheckKvState() has passed; after an error the slot holds nothing that can be relied on, and the caller forgets it.
// Errors: kUnsupported (a cache of another form than is known here), kTooLarge, kInvalidArgument (not such a state), kUnavailable (not enough memory).
// Thread-safety: single-owner, as the model.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

#include "core/status.h"
#include "engines/llamacpp/llama_model.h"

namespace evenkeel {

// `tokens`: that the slot holds, at least one.
Result<std::string> SaveSlot(const LlamaModel& model, int slot, size_t tokens);
// What the slot held is gone. REQUIRES: as many free cells as tokens.
Status LoadSlot(const LlamaModel& model, int slot, std::string_view bytes, size_t tokens);

}  // namespace evenkeel
