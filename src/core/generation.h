// One request to a language model: what a front end asks, and what it is told while its sequences run (A12).
//
// Use for: the seam between front ends and the room llm. Not for: tensors (core/infer.h).
// Contract: the front end owns the GenerationCall until Done() was called, which happens exactly once for each Generate(), accepted or
//   refused. Before it come, in this order: OnStart() once, if the request was admitted; OnDelta() for each piece of each choice; OnFinish()
//   once a choice that ended by itself. Callbacks of one call never overlap; they may run on any thread, also inside Generate(), and never under
//   a lock of the caller's. A callback must not block.
// Texts are whole UTF-8 characters: a token that ends inside a character is held back until the rest has come.
// Thread-safety: as said above; the structs are values.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "core/clock.h"
#include "core/status.h"

namespace evenkeel {

// How the next token is drawn. Names and ranges as in the OpenAI API; where it has none, as in llama.cpp.
struct Sampling {
  float temperature = 1.0F;                                 // 0 to 2; 0: the likeliest token
  float top_p = 1.0F;                                       // (0, 1]
  int top_k = 0;                                            // 0: all
  float min_p = 0.0F;                                       // [0, 1]
  float frequency_penalty = 0.0F, presence_penalty = 0.0F;  // -2 to 2
  float repeat_penalty = 1.0F;                              // (0, 10]; 1: none
  std::optional<uint32_t> seed;                             // unset: another one each time
  std::vector<std::pair<int32_t, float>> logit_bias;        // token id and -100 to 100
};

// How far an attempt came whose node was lost: what goes on from there tells the same text again at once, then what follows.
struct BegunChoice {
  std::vector<int32_t> tokens;
  std::string text;    // of those tokens, as GenerationDelta::raw told it
  bool ended = false;  // nothing of it is to come
};

struct GenerationRequest {
  // What is continued: exactly one of the three is set.
  std::string chat;  // a JSON object with "messages" and, where given, "tools", "tool_choice",
      // "parallel_tool_calls": checked by the front end, put into words by the model's template
  std::string prompt;           // text
  std::vector<int32_t> tokens;  // ids of the model's vocabulary
  Sampling sampling;
  int max_tokens = 0;             // a choice; 0: until the context ends
  int choices = 1;                // answers to the one prompt ("n"), 1 to 128
  std::vector<std::string> stop;  // an answer ends before the first of these texts
  std::string json_schema;  // the answer is JSON of this schema ("{}": any object); empty: free
  std::string grammar;      // GBNF; empty: free
  int top_logprobs = -1;    // -1: no log probabilities; else so many alternatives a token, 0 to 20
  bool ignore_eos = false;  // for benchmarks: runs to max_tokens
  bool truncate =
      false;  // a prompt beyond the context loses its beginning instead of being refused
  std::vector<BegunChoice> begun;  // empty, or one a choice
  bool tell_tokens = false;        // deltas have `tokens` and `raw`
};

enum class FinishReason : uint8_t { kStop, kLength, kToolCalls };

struct TokenLogprob {
  std::string bytes;  // of the token; not always whole characters
  float logprob = 0;
  std::vector<std::pair<std::string, float>> top;  // likeliest first
};

// A piece of a tool call: the first of one `index` has id and name, and each adds to the arguments.
struct ToolCallDelta {
  int index = 0;
  std::string id, name;
  std::string arguments;  // JSON text
};

struct GenerationDelta {
  int choice = 0;         // 0 to choices - 1
  std::string text;       // adds to the answer; may be empty
  std::string reasoning;  // adds to what models with a thinking part say before it
  std::vector<ToolCallDelta> tool_calls;
  std::vector<TokenLogprob> logprobs;
  // Where the request asks for them: the tokens that came, and their text before it was taken apart.
  std::vector<int32_t> tokens;
  std::string raw;
};

struct GenerationUsage {
  int prompt_tokens = 0;
  int cached_tokens = 0;      // of these, taken from sequences before
  int completion_tokens = 0;  // of all choices
  Duration queue{};           // arrival to the first step that carried it
  Duration prompt{};          // from there to the first token
  Duration decode{};          // from there to the last
};

// What a server has of an answer that it would have moved.
struct MoveOffer {
  uint64_t answer = 0;  // names the answer's state there (core/sequence_state.h); 0: it sends none
  int64_t state_bytes = 0;  // about
  int64_t tokens = 0;       // that the state saves computing: prompt and answer so far
};

class GenerationCall {
 public:
  virtual ~GenerationCall() = default;

  GenerationRequest request;
  Time arrived{};
  Time deadline = kNever;           // after it the answer ends with kDeadlineExceeded
  int priority = 0;                 // 0: the model's default; else 1 (first) to 16 (last)
  bool movable = false;             // another server could take it: the next two may come
  void* scheduler_state = nullptr;  // the scheduler's own while it holds the call

  virtual void OnStart(int prompt_tokens) = 0;
  virtual void OnDelta(const GenerationDelta& delta) = 0;
  virtual void OnFinish(int choice, FinishReason reason) = 0;
  virtual void Done(const Status& status, const GenerationUsage& usage) = 0;
  // Instead of Done(), for a movable call of which no token came.
  virtual void GivenBack() {
    Done(Status(Code::kUnavailable, "another server is to take it"), GenerationUsage());
  }
  // A movable call that runs would be better off elsewhere. A hint: it runs on until it is cancelled.
  virtual void MoveAsked(const MoveOffer& offer) { static_cast<void>(offer); }
};

// Texts to vectors, or documents to scores, in one call.
class EmbeddingCall {
 public:
  virtual ~EmbeddingCall() = default;

  std::vector<std::string> texts;            // or
  std::vector<std::vector<int32_t>> tokens;  // one of the two is set
  // Set: `texts` are documents, and each gets a score of how well it answers this.
  std::optional<std::string> query;
  bool truncate = false;  // a text beyond the context loses its end instead of being refused
  Time arrived{};
  Time deadline = kNever;
  int priority = 0;  // 0: the model's default; else 1 (first) to 16 (last)

  // Row i belongs to input i: a vector of length 1, or one number from 0 to 1. Empty unless status.ok(). Exactly once, on any thread.
  virtual void Done(const Status& status, const std::vector<std::vector<float>>& rows,
                    int prompt_tokens) = 0;
};

struct LanguageModelInfo {
  std::string name;
  int64_t created_s = 0;     // Unix time of the file
  int context_tokens = 0;    // of one sequence
  int vocabulary = 0;        // ids are below it
  bool chat = false;         // has a chat template
  bool embeddings = false;   // turns texts into vectors
  std::string architecture;  // "llama"
  bool generates = true;     // continues texts
  bool ranks = false;        // scores documents against a query
  int vector_size = 0;       // numbers of a vector
};

// A ready language model. Holding the pointer keeps it answering (through unload and reload).
// Thread-safety: thread-safe.
class LanguageModel {
 public:
  virtual ~LanguageModel() = default;
  virtual LanguageModelInfo Info() const = 0;
  // Some node that answers for it is there at the moment.
  virtual bool reachable() const { return true; }
  virtual void Generate(GenerationCall* call) = 0;
  // Asks that `call` end early; its Done() still comes (kCancelled unless the end won the race). The caller must not free
  // `call` while Cancel() may run.
  virtual void Cancel(GenerationCall* call) = 0;
  virtual void Embed(EmbeddingCall* call) = 0;
  // As Cancel().
  virtual void CancelEmbedding(EmbeddingCall* call) = 0;
};

}  // namespace evenkeel
