// A language model whose answers can move with what was computed of them: what the exchange of states between nodes needs of it (B8).
//
// Implementations: LlmModel. Thread-safety: thread-safe; what is computed is answered on the model's loop.
#pragma once

#include <cstdint>
#include <functional>
#include <string>

#include "core/sequence_state.h"
#include "core/status.h"

namespace evenkeel {

class StateModel {
 public:
  virtual ~StateModel() = default;
  virtual const std::string& model_name() const = 0;
  // Its file is the one that was there when it was loaded, by its time of change. Asks the disk.
  virtual bool FileUnchanged() const = 0;
  // What its states fit (core/sequence_state.h); empty: it has none that could be sent.
  virtual std::string state_kind() const = 0;
  // Seconds that one token of a prompt takes here, measured; 0: not known.
  virtual double prompt_token_s() const = 0;
  // What is computed of the answer that a MoveOffer named, after the step that runs. `done` once. Errors: kNotFound (it ended, or has nothing computed now), and
  // as SequenceEngine::SaveState().
  virtual void ReadState(uint64_t answer, std::function<void(Result<SequenceState>)> done) = 0;
  // Has the worker keep another server's state of the same model for the answer that will come with its tokens. `state` is not trusted: whether it is of
  // this very file is for the caller to know. `done` once. Errors: kConflict, kInvalidArgument, kOverloaded, and as SequenceEngine::LoadState().
  virtual void RestoreState(SequenceState state, std::function<void(Status)> done) = 0;
};

}  // namespace evenkeel
