// The calls to a language model that turn texts into vectors, or documents into scores: from texts to tokens, from tokens to rows.
//
// A call's texts are tokenised in pieces, and go to the worker as there is room: the calls take turns there, text by text, so that a long
//   list does not keep a short one waiting; what shares a step is the worker's choice. The first text that fails fails its call.
// Contract: each Begin() ends with exactly one Done() of its call: with a row for each text in their order, or an error. A call is
//   refused at once (kOverloaded) while as many run as may, or when those before it have more tokens than `longest_wait` by the rate so
//   far; a text beyond the context is an error with the sizes, unless it may be cut.
// Thread-safety: Register() and IdOf() are thread-safe; the rest belongs to the loop, where all callbacks come.
#pragma once

#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <unordered_map>
#include <vector>

#include "core/generation.h"
#include "llm/llm_context.h"
#include "llm/prompt_service.h"
#include "llm/sequence_engine.h"

namespace evenkeel {

class EmbeddingCalls {
 public:
  struct Parts {  // of the model, which outlive this
    LlmContext& context;
    const LlmOptions& options;
    PromptService& prompts;
    SequenceEngine& engine;
    std::function<uint64_t()> new_id;             // for the engine
    std::function<void(const Status&)> on_ended;  // just before the Done() of a call
  };

  explicit EmbeddingCalls(Parts parts);
  ~EmbeddingCalls();

  uint64_t Register(const EmbeddingCall* call);
  uint64_t IdOf(const EmbeddingCall* call) const;  // 0: it is done

  // REQUIRES: an id of Register(), once.
  void Begin(uint64_t id, EmbeddingCall* call, const LlmLoaded& model);
  // Instead of Begin().
  void Refuse(EmbeddingCall* call, const Status& status);
  void OnVector(TextEnd end);
  // Ends a call early; nothing where it ended before.
  void Finish(uint64_t id, const Status& status);
  void FinishAll(const Status& status);
  size_t open() const { return calls_.size(); }

 private:
  struct Call;
  struct Ready {  // tokenised, not in the engine yet
    size_t index = 0;
    std::vector<int32_t> tokens;
  };

  Status Check(const EmbeddingCall& call, const LlmLoaded& model) const;
  Status CheckLoad() const;
  void TakeTokens(Call& call);
  void TokeniseMore(Call& call);
  void OnTokenised(uint64_t id, size_t first, Result<TokenisedTexts> texts);
  Status TakeRow(Call& call, size_t index, std::vector<int32_t> tokens, int64_t size);
  void Feed();
  void End(EmbeddingCall* call, const Status& status, const std::vector<std::vector<float>>& rows,
           int tokens);
  void SetDeadline();
  void OnDeadline();

  Parts parts_;
  std::unique_ptr<Alarm> deadline_;
  std::map<uint64_t, std::unique_ptr<Call>> calls_;
  std::unordered_map<uint64_t, std::pair<uint64_t, size_t>> in_engine_;  // call, text
  std::deque<uint64_t> turns_;  // calls with texts that are ready, each once
  int64_t open_tokens_ = 0;     // ready or in the engine
  int64_t engine_tokens_ = 0;   // of them, in the engine

  mutable std::mutex mutex_;                                // guards what follows
  std::unordered_map<const EmbeddingCall*, uint64_t> ids_;  // of calls that are not done
  uint64_t next_id_ = 1;
};

}  // namespace evenkeel
