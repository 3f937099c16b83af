// States of sequences on their way from a worker, and to one: asked for and answered over its frames, one at a time (B8).
//
// Contract: every `done` comes once, on the loop, never inside Save() or Load(): also when the worker ends, or is silent for kLimit. One that
//   was given up may still have frames on their way: they are passed over.
// Errors: kUnavailable (there is no worker, or it ended), kOverloaded (kMostWaiting wait), kDeadlineExceeded, and what the worker says.
// Thread-safety: single-owner (the loop).
#pragma once

#include <cstddef>
#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "core/clock.h"
#include "core/event_loop.h"
#include "core/sequence_state.h"
#include "core/status.h"
#include "llm/wire/messages.h"
#include "llm/wire/state_messages.h"

namespace evenkeel {

class StateTransfers {
 public:
  static constexpr Duration kLimit = std::chrono::seconds(10);  // without a piece
  static constexpr size_t kMostWaiting = 16;
  using Done = std::function<void(Result<SequenceState>)>;
  // To the worker, as EngineProcess::SendAside(): what is full for states has room for sequences.
  using Send = std::function<Status(LlmFrame type, const std::string& payload)>;

  StateTransfers(EventLoop& loop, const Clock& clock, Send send);

  // Of a sequence that the worker has.
  void Save(uint64_t sequence, Done done);
  // `done` has a state without bytes where it went well.
  void Load(SequenceState state, Done done);
  // A worker is up, or has ended.
  void OnWorker(bool up);
  // Frames kState and kStateEnd. Error kInternal: the worker broke the rules.
  Status OnPiece(std::string_view payload);
  Status OnEnd(std::string_view payload);

 private:
  struct Transfer {
    uint64_t id = 0;
    uint64_t sequence = 0;            // that is saved; 0: one is loaded
    std::optional<StateCutter> load;  // what is left of that one
    Done done;
    bool asked = false;  // the worker was, or has all of it
    Time until = kNever;
  };
  void Add(Transfer transfer);
  void Go();
  Status SendPieces(Transfer& transfer);
  void OnAlarm();
  void Finish(Result<SequenceState> result);
  void Tell(Done done, Result<SequenceState> result);
  Transfer* Of(uint64_t id);

  EventLoop& loop_;
  const Clock& clock_;
  const Send send_;
  std::unique_ptr<Alarm> alarm_;
  std::deque<Transfer> transfers_;  // the first is under way
  StateAssembly arriving_;
  uint64_t next_id_ = 1;
  bool up_ = false;
};

}  // namespace evenkeel
