// The texts of a language model's worker: they come, steps compute several side by side, vectors or scores go.
//
// Contract: Start() queues a text; Step() begins what fits, computes one step and tells results to the sink; Cancel() takes a text out at
//   once. Every started text ends with exactly one Vector(), but cancelled ones, which end without. The texts of a step that failed are
//   computed again one by one, and only one that fails alone is failed. What a step holds is decided by
//   policy::PlanTexts; its tokens beside answers by policy::TextTokens. A text's vector is of length 1 and does not depend on its neighbours.
//   Context and memory for texts are made when the first comes, grow for a long one, and shrink when nothing is left.
// Thread-safety: single-owner.
#pragma once

#include <cstdint>
#include <list>
#include <memory>
#include <vector>

#include "core/clock.h"
#include "engines/llamacpp/llama_model.h"
#include "engines/llamacpp/text_context.h"
#include "llm/policy/pooling.h"
#include "llm/policy/text_plan.h"
#include "llm/wire/text_messages.h"

namespace evenkeel {

class TextSink {
 public:
  virtual ~TextSink() = default;
  virtual void Vector(const TextEnd& end) = 0;
  // After each step, also one that failed, and when the last text was cancelled, with `took` zero.
  virtual void TextsStepped(const TextReport& report) = 0;
};

class TextLoop {
 public:
  // REQUIRES: the model's pooling is not kNone.
  TextLoop(LlamaModel& model, Duration inter_token, const Clock& clock, TextSink& sink);
  ~TextLoop();

  // Makes the context now. Error kUnavailable: not enough memory.
  Status Prepare();
  void Start(TextStart start);
  void Cancel(uint64_t id);
  bool idle() const { return texts_.empty(); }
  const TextContext& context() const { return context_; }
  // `answers`: how long the steps of answers take that this one stands between; zero: there are none. REQUIRES: !idle().
  void Step(Duration answers);

 private:
  struct Text;
  using Texts = std::list<std::unique_ptr<Text>>;

  std::vector<Text*> Candidates() const;
  bool MakeRoom(Text& first);
  void StepFailed(const Status& status);
  void GiveBack();
  void Begin(Text& text, Time now);
  void Take(Text& text, int first_row, int rows);
  void Finish(Text& text, Status status, std::vector<float> values = {});
  void Report(int tokens, int texts, Duration took);

  LlamaModel& model_;
  const Duration objective_;
  const Clock& clock_;
  TextSink& sink_;
  TextContext context_;
  Texts texts_;              // by priority, then age
  std::vector<bool> taken_;  // slots
  double token_cost_ = 0;    // seconds, lately; 0: not measured
};

}  // namespace evenkeel
