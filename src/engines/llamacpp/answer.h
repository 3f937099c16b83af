// One answer being made: which token comes next, and what of it can be told.
//
// Contract: Next() draws from a row of the last step's logits and takes the token in; `text` is whole characters, up to the first stop word.
//   Replay() takes tokens in that were told before; an answer that begins with them draws what it would have drawn had it told them itself:
//   where its generator of random numbers stands is decided by how many tokens there are, not by what was drawn. Nothing here touches the cache.
// Thread-safety: single-owner.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "core/status.h"
#include "engines/llamacpp/llama_model.h"
#include "llm/text/stop_matcher.h"
#include "llm/text/utf8_tail.h"
#include "llm/wire/messages.h"

struct common_sampler;

namespace evenkeel {

class Answer {
 public:
  // Errors: kInvalidArgument (a grammar that does not compile, a token outside the vocabulary).
  static Result<std::unique_ptr<Answer>> Create(const LlamaModel& model,
                                                const SequenceStart& start);
  ~Answer();

  struct Drawn {
    int32_t token = 0;
    bool ends = false;  // an end token, or a stop word: nothing more may be drawn
    std::string text;
    std::optional<TokenLogprob> logprob;
  };
  // `row`: index into the outputs of the last step. Errors: kInternal (the engine gave nothing to draw from), kInvalidArgument (its grammar
  // can be followed in too many ways).
  Result<Drawn> Next(int row);
  void Replay(int32_t token);
  // The answer ends by its length: what was held back.
  std::string Rest();

 private:
  Answer(const LlamaModel& model, const SequenceStart& start);
  Status MakeSampler(const SequenceStart& start);
  int32_t Draw(int row);
  void TakeNumbers();
  int32_t Likeliest(const float* logits) const;
  TokenLogprob LogprobOf(int32_t token, const float* logits) const;
  std::string Tell(int32_t token);
  bool IsText(int32_t token) const;

  const LlamaModel& model_;
  const int top_logprobs_;
  const bool ignore_ends_;
  const std::vector<int32_t> preserved_;
  const bool redraws_;                 // what its grammar refuses is drawn again
  common_sampler* sampler_ = nullptr;  // null: always the likeliest
  Utf8Tail tail_;
  StopMatcher stop_;
};

}  // namespace evenkeel
