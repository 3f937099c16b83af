// The loop of a language model's worker: sequences come, each step computes one token of every answer and pieces of prompts.
//
// Contract: Start() queues a sequence; Step() admits what fits, computes one step and tells its results to the sink; Cancel() takes a sequence
//   out at once. Every started sequence ends with exactly one End(), but cancelled ones, which end without. A sequence is admitted
//   once its cells are booked: for its whole answer where that is short, else for a part, which grows. One that can't grow is put off, the
//   youngest first, and goes on from its tokens when there is room: none is dropped for lack of cells. What each step holds is
//   decided by policy::PlanStep, cells by policy::SlotTable.
// A sequence's state goes to another worker by SaveState() there and LoadState() here: what was loaded is a beginning that is kept, as that of a
//   sequence that ended, for the one that comes with its tokens (B8).
// Thread-safety: single-owner.
#pragma once

#include <cstdint>
#include <functional>
#include <list>
#include <memory>
#include <vector>

#include "core/clock.h"
#include "core/sequence_state.h"
#include "engines/llamacpp/answer.h"
#include "engines/llamacpp/llama_model.h"
#include "llm/policy/chunk_budget.h"
#include "llm/policy/slot_table.h"
#include "llm/policy/step_plan.h"
#include "llm/policy/step_threads.h"
#include "llm/wire/messages.h"
#include "llm/wire/steer_messages.h"

namespace evenkeel {

class StepSink {
 public:
  virtual ~StepSink() = default;
  virtual void Token(const SequenceToken& token) = 0;
  virtual void End(const SequenceEnd& end) = 0;
  // After each step, also one that failed, and when the last sequence was cancelled, with `took` zero.
  virtual void Stepped(const StepReport& report) = 0;
};

class StepLoop {
 public:
  StepLoop(LlamaModel& model, Duration inter_token, const Clock& clock, StepSink& sink);
  ~StepLoop();

  void Start(SequenceStart start);
  void Cancel(uint64_t id);
  // From the next step on: sequences side by side, and the budget of prompts.
  void Steer(const LlmSteer& steer);
  // What is computed of a sequence that answers. Errors: kNotFound (there is none such now), and as SaveSlot().
  Result<SequenceState> SaveState(uint64_t id) const;
  // Errors: kConflict (of another kind of model), kInvalidArgument (none of this model's), kOverloaded (no slot or too few cells are free), and as LoadSlot().
  // What else runs or is kept is left alone, but for kept beginnings that give way.
  Status LoadState(const SequenceState& state);
  bool idle() const { return sequences_.empty(); }
  // REQUIRES: !idle().
  void Step();

 private:
  struct Sequence;
  using Sequences = std::list<std::unique_ptr<Sequence>>;
  struct Output {
    Sequence* sequence;
    int row;
  };

  void Admit();
  bool TryAdmit(Sequence& sequence);
  bool LeaderIsBehind(const Sequence& sequence) const;
  void PutOff(Sequence& sequence);
  void BookGrowth();
  std::vector<Output> FillBatch(const std::vector<policy::StepShare>& plan,
                                const std::vector<Sequence*>& running);
  Status Compute();
  void Draw(const Output& output, Time now);
  void Finish(Sequence& sequence, SequenceEnd::Reason reason, std::string text,
              Status status = Status::Ok());
  void Remove(const Sequence& sequence);
  void Report(int answers, int prompt_tokens, int depth, Duration took);
  int Length(const Sequence& sequence) const;
  bool AreTokens(const std::vector<int32_t>& tokens) const;

  LlamaModel& model_;
  const Clock& clock_;
  StepSink& sink_;
  policy::SlotTable table_;
  policy::ChunkBudget budget_;
  policy::StepThreads step_threads_;
  int permitted_;         // threads of a step at most
  int most_running_ = 0;  // 0: as many as there are slots
  Sequences sequences_;   // by priority, then age; waiting and running
  struct Batch;
  std::unique_ptr<Batch> batch_;
};

}  // namespace evenkeel
