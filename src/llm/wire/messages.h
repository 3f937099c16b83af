// What the daemon and a language model's worker tell each other: frames of an ipc::StreamChannel, and the two JSON messages of loading.
//
//   daemon → worker   kStart, kCancel; kText (text_messages.h); kSaveState, kLoadState (state_messages.h); kSteer (steer_messages.h)
//   worker → daemon   kToken, kEnd, kStep; kVector, kTextStep; kState, kStateEnd; kSteered
//   control socket    {"op":"load",...} down; {"op":"loaded",...} or {"op":"failed","code","message"} up
// Contract: decoders take any bytes: every count, enumeration and number is checked; what a side would index with is checked by it against
//   its own limits (token ids against the vocabulary). Thread-safety: thread-safe.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "core/clock.h"
#include "core/generation.h"
#include "core/status.h"

namespace evenkeel {

enum class LlmFrame : uint32_t {
  kStart = 1,
  kCancel = 2,
  kText = 3,
  kSaveState = 4,
  kLoadState = 5,
  kSteer = 8,
  kToken = 16,
  kEnd = 17,
  kStep = 18,
  kVector = 19,
  kTextStep = 20,
  kState = 21,
  kStateEnd = 22,
  kSteered = 24
};

// What may follow in an answer.
struct AnswerGrammar {
  enum class Kind : uint8_t { kNone = 0, kUser = 1, kFormat = 2, kTools = 3 };
  struct Trigger {
    uint8_t kind = 0;  // llama.cpp's: token, word, pattern, full pattern
    std::string text;
    int32_t token = -1;
  };
  Kind kind = Kind::kNone;
  std::string gbnf;
  bool lazy = false;  // holds only from a trigger on
  std::vector<Trigger> triggers;
  std::vector<int32_t> preserved;  // tokens that are text although they are control tokens
  std::string begun;               // what the prompt already has of the answer
};

struct SequenceStart {
  uint64_t id = 0;      // not 0
  uint64_t leader = 0;  // another sequence of the same prompt that goes first; 0: none
  std::vector<int32_t> prompt;
  std::vector<int32_t> answered;  // tokens that were told before, by a worker that ended
  int32_t max_tokens = 0;         // of the answer, those included; 0: until the context ends
  Sampling sampling;              // seed is set
  std::vector<std::string> stop;
  AnswerGrammar grammar;
  int32_t top_logprobs = -1;
  bool ignore_eos = false;
  int32_t priority = 8;
};

struct SequenceToken {
  uint64_t id = 0;
  int32_t token = 0;
  std::string text;  // whole characters that can be told now
  std::optional<TokenLogprob> logprob;
};

struct SequenceEnd {
  enum class Reason : uint8_t { kStop = 0, kLength = 1, kFailed = 2 };
  uint64_t id = 0;
  Reason reason = Reason::kStop;
  std::string text;  // that was held back
  Status status;     // kFailed: why
  int32_t prompt_tokens = 0, cached_tokens = 0, completion_tokens = 0;
  Duration queue{}, prompt{}, decode{};
};

// For figures: after each step, and when nothing is left to step. Then `took` is zero.
struct StepReport {
  int32_t answers = 0, prompt_tokens = 0;  // of this step
  int32_t running = 0, waiting = 0;        // sequences, after it
  int32_t cells_booked = 0, cells_held = 0;
  int32_t threads = 0, depth = 0;  // of this step: threads; tokens of an answering sequence, mean
  Duration took{};
};

std::string Encode(const SequenceStart& start);
std::string Encode(const SequenceToken& token);
std::string Encode(const SequenceEnd& end);
std::string Encode(const StepReport& report);
std::string EncodeCancel(uint64_t id);

// Error kInternal, naming the message.
Result<SequenceStart> DecodeStart(std::string_view bytes);
Result<SequenceToken> DecodeToken(std::string_view bytes);
Result<SequenceEnd> DecodeEnd(std::string_view bytes);
Result<StepReport> DecodeStep(std::string_view bytes);
Result<uint64_t> DecodeCancel(std::string_view bytes);

}  // namespace evenkeel
