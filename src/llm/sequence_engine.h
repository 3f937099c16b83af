// A language model's worker, seen as something that runs sequences and texts and does not die.
//
// A worker that ends is started again (RestartPolicy); what ran goes on from its tokens. Who it died of is not known, so after a death
//   sequences are let in one by one, each once the one before has come a step further: one that a worker dies of while it is being let in is
//   failed (kInternal), and so is one that has seen kMostDeaths. A text (for a vector or a score) is a sequence in all this, but begins anew.
// Where none loads again (policy/load_patience.h) what waits fails with kUnavailable, and so does what comes, until one has loaded: it is tried on.
// Contract: each added sequence ends with exactly one OnEnd(), each text with one OnVector(), unless it was removed. Events come on the
//   loop, never inside Add().
// Thread-safety: single-owner (the loop), but for Look().
#pragma once

#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <unordered_map>
#include <variant>
#include <vector>

#include "containers/restart_policy.h"
#include "llm/engine_process.h"
#include "llm/llm_context.h"
#include "llm/policy/load_patience.h"
#include "llm/state_transfers.h"
#include "llm/wire/messages.h"
#include "llm/wire/steer_messages.h"
#include "llm/wire/text_messages.h"

namespace evenkeel {

class SequenceEngine {
 public:
  static constexpr int kMostDeaths = 4;

  class Owner {
   public:
    virtual ~Owner() = default;
    virtual void OnToken(SequenceToken token) = 0;
    virtual void OnEnd(SequenceEnd end) = 0;
    virtual void OnVector(TextEnd end) = 0;
    // A worker is up, or has ended; also the first one.
    virtual void OnWorker(const LlmLoaded* up) = 0;
    // There are sequences, or none any more: before the first is sent, after the last ended.
    virtual void OnBusy(bool busy) = 0;
    virtual void OnStep(const StepReport& step) = 0;
    virtual void OnSteered(const LlmSteered& steered) = 0;
  };

  SequenceEngine(LlmContext& context, const LlmOptions& options, Owner& owner);
  ~SequenceEngine();

  // `ready` is called once: the first worker is up, or why the model can't be served.
  void Start(std::function<void(Result<LlmLoaded>)> ready);
  // Ends the worker; what runs is failed (kUnavailable).
  void Stop();

  // REQUIRES: an id that was never used, for a sequence or a text.
  void Add(SequenceStart start);
  void Add(TextStart start);
  void Remove(uint64_t id);
  // The state of a sequence that answers, after the step that runs; about so many bytes. As StateTransfers; also kNotFound, and kTooLarge where the worker's
  // container has no room to write it down.
  void SaveState(uint64_t id, int64_t bytes, StateTransfers::Done done);
  // The worker keeps it for a sequence that begins with its tokens. REQUIRES: it has bytes and tokens. Errors: those, and as the worker says.
  void LoadState(SequenceState state, StateTransfers::Done done);
  // Told to the worker in order with all else; forgotten where there is none.
  void Steer(const LlmSteer& steer);
  // Of the next worker.
  void SetShape(int slots, int64_t cells);
  // What the worker is held to from now on, and the next one from its start, where the runtime can hold it. A worker that was killed for
  // want of memory is followed by one without a limit, and none gets less than twice what was too little. Errors: as
  // WorkerProcess::Reshape; what held before holds.
  Status SetContainer(WorkerShape shape);
  const std::optional<WorkerShape>& container() const { return container_; }
  bool busy() const { return !sequences_.empty(); }
  std::optional<int64_t> MemoryBytes() const;  // of the worker, resident; nullopt: not known
  // What runs are sequences of the house: their tokens and steps are not counted.
  void SetUncounted(bool uncounted) { uncounted_ = uncounted; }

  struct View {
    pid_t pid = 0;
    bool hopeless = false;  // no worker has loaded again, and what comes fails
    std::string state;      // "starting", "ready", "waiting to restart", "ended"
    uint64_t restarts = 0;
    std::string last_end;
    StepReport step;  // the latest
    uint64_t steps = 0, prompt_tokens = 0, answer_tokens = 0;
    Duration busy{};   // in steps
    TextReport texts;  // the latest
    uint64_t text_steps = 0, text_tokens = 0;
    Duration text_busy{};  // in steps of texts
  };
  View Look() const;  // on any thread

 private:
  using Work = std::variant<SequenceStart, TextStart>;
  struct Sequence {
    Work work;
    bool sent = false;
    bool heard = false;  // from the current worker
    int deaths = 0;
  };

  void StartWorker();
  void LookWhetherHopeless();
  void AddWork(uint64_t id, Work work);
  void LetIn();
  bool SendSteers();
  Status RoomForState(int64_t bytes) const;
  void Noticed();
  void SendTo(uint64_t id, Sequence& sequence);
  void Fail(uint64_t id, const Work& work, const Status& status);
  Status OnFrame(uint32_t type, const std::string& payload);
  Status OnTokenFrame(const std::string& payload);
  Status OnVectorFrame(const std::string& payload);
  void NoteTexts(const TextReport& report);
  void Heard(uint64_t id);
  void OnEnded(const std::string& how);
  void FailLater(uint64_t id, const Status& status);
  void Note(std::function<void(View&)> change);

  LlmContext& context_;
  const LlmOptions& options_;
  Owner& owner_;
  std::unique_ptr<EngineProcess> process_;
  StateTransfers states_;
  std::function<void(Result<LlmLoaded>)> ready_;
  std::unique_ptr<Alarm> restart_, retry_, give_up_;
  RestartPolicy policy_;
  std::unordered_map<uint64_t, Sequence> sequences_;
  std::deque<uint64_t> unsent_;  // in the order of their coming
  std::vector<uint64_t> unsent_removals_;
  std::deque<LlmSteer> unsent_steers_;
  uint64_t probe_ = 0;    // the one being let in after a death; 0: none
  bool careful_ = false;  // since a death, until all of its time were let in
  uint64_t ends_ = 0;     // of the current worker
  policy::LoadPatience patience_;
  std::string why_none_;  // while it is hopeless
  int vocabulary_ = 0, context_tokens_ = 0;
  size_t row_size_ = 0;  // numbers of a text's row
  int slots_;
  int64_t cells_;
  std::optional<WorkerShape> container_;
  int64_t least_memory_ = 0;  // of it, bytes: less was too little
  bool told_busy_ = false;
  bool uncounted_ = false;
  bool up_ = false;
  bool stopped_ = false;

  mutable std::mutex mutex_;  // guards view_
  View view_;
};

}  // namespace evenkeel
