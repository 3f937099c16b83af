// The two messages of loading a language model, as JSON over the control socket.
//
// Contract: decoders take any bytes and check everything that is used; unknown fields are ignored. Thread-safety: thread-safe.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "core/clock.h"
#include "core/pooling.h"
#include "core/status.h"

namespace evenkeel {

// Of what a worker tells, bytes: all of something, and of one cell, which times the most cells is a number yet.
inline constexpr int64_t kMostBytes = int64_t{1} << 50;
inline constexpr int64_t kMostCellBytes = int64_t{1} << 32;

struct LlmLoad {
  std::string path;    // of the GGUF file
  int threads = 1;     // 1 to 512; of a step at most
  bool waits = false;  // no step before a kSteer allows one
  int slots = 16;      // sequences that run side by side, 1 to 256
  int64_t cells = 0;   // tokens of all sequences together; 0: what the worker finds fit
  int context = 0;     // tokens of one sequence at most; 0: as the model was trained
  Duration
      inter_token{};  // objective: prompts take no more of a step than fits into it; zero: none is stated
  bool vocabulary_only = false;    // for the prompt process: no weights
  std::string without_chat;        // why the chat template is not to be read; empty: it is
  std::optional<Pooling> pooling;  // unset: the file's, or by its kind
};

struct LlmLoaded {
  int context = 0;  // tokens of one sequence
  int cells = 0;    // of all together; 0: it generates nothing
  int slots = 0;
  int vocabulary = 0;  // token ids are below it
  bool chat = false;
  Pooling pooling = Pooling::kNone;  // what texts become; none: nothing
  int vector_size = 0;               // numbers of a vector
  std::string architecture;
  std::string facts;       // JSON object, for `show`
  std::string state_kind;  // of its sequences' states (core/sequence_state.h); empty: none
  int64_t cell_bytes = 0;  // of a token in the cache; 0: not known

  bool generates() const { return cells > 0; }
};

std::string Encode(const LlmLoad& load);
std::string Encode(const LlmLoaded& loaded);
// Errors: kInternal, as the contract says.
Result<LlmLoad> DecodeLlmLoad(std::string_view message);
// The status of a "failed" message (engines/control_codec.h) comes back as the error.
Result<LlmLoaded> DecodeLlmLoaded(std::string_view message);

}  // namespace evenkeel
