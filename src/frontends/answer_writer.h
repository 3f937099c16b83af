// How a protocol says what a language model gives: the pieces of a stream, and whole answers.
//
// Contract: pure but for what it remembers of the stream (which choices have begun). Choices are numbered over all prompts of a request.
//   Pieces are complete server-sent events; "" is nothing to say.
// Thread-safety: single-owner.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "core/generation.h"
#include "frontends/openai_error.h"
#include "net/http_message.h"

namespace evenkeel {

// One answer, put together.
struct GeneratedChoice {
  std::string text, reasoning;
  std::vector<ToolCallDelta> tool_calls;  // one a call, whole
  std::vector<TokenLogprob> logprobs;
  FinishReason reason = FinishReason::kStop;

  void Add(GenerationDelta delta);
  // What Add() has kept so far, about.
  size_t bytes = 0;
};

class AnswerWriter {
 public:
  virtual ~AnswerWriter() = default;
  virtual std::string Piece(int choice, const GenerationDelta& delta) = 0;
  virtual std::string Finish(int choice, FinishReason reason) = 0;
  virtual std::string End(const GenerationUsage& usage) = 0;
  // An error after the stream has begun.
  virtual std::string ErrorPiece(const ApiError& error) = 0;
  virtual std::string Whole(const std::vector<GeneratedChoice>& choices,
                            const GenerationUsage& usage) = 0;
  virtual HttpResponse Refusal(const ApiError& error) = 0;
};

}  // namespace evenkeel
