// States of answers as they travel between nodes, and the two requests about them (B8).
//
// How it goes: the node that an answer is to go on at is told to take its state (StateOrder), and asks the one that makes it (StateRequest); that one answers with a
//   header, pieces of at most kStateEventBytes, and an end with the pieces' SHA-256. A state is bound to the model's content, the engine and its build, the
//   form of the cache and the context: both ends compare the binding, and the engine's process looks at every size before the engine does.
// Contract: of what another node sends no more is held than its header says, which is kMostStateBytes at most.
// Errors: kInvalidArgument (of a request), kInternal (of an answer: the other node's fault), kConflict (another binding).
// Thread-safety: pure; StateWriter and StateReader single-owner.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <utility>

#include "cluster/models/sha256.h"
#include "core/sequence_state.h"
#include "core/status.h"

namespace evenkeel::node::v1 {
class ReadStateRequest;
class StateEvent;
class TakeStateRequest;
class TakeStateResponse;
}  // namespace evenkeel::node::v1

namespace evenkeel {

inline constexpr size_t kStateEventBytes = size_t{1} << 20;
inline constexpr size_t kLongestBinding = kLongestStateKind + 100;

// To the node that makes the answer.
struct StateRequest {
  std::string model;
  uint64_t answer = 0;  // MoveOffer::answer
  std::string binding;  // that of whoever asks
};

struct BoundState {
  std::string binding;
  SequenceState state;
  std::shared_ptr<const void> hold;  // its place among those under way; goes with it
};

// To the node that it is to go on at.
struct StateOrder {
  std::string model, from;  // the node that has it
  uint64_t answer = 0;
  int64_t bytes = 0, tokens = 0;  // as offered
};

struct StateTaken {
  bool taken = false;
  std::string why;    // it was not
  int64_t bytes = 0;  // of what was taken
};

void WriteStateRequest(const StateRequest& request, node::v1::ReadStateRequest* message);
Result<StateRequest> ReadStateRequest(const node::v1::ReadStateRequest& message);
void WriteStateOrder(const StateOrder& order, node::v1::TakeStateRequest* message);
Result<StateOrder> ReadStateOrder(const node::v1::TakeStateRequest& message);
void WriteStateTaken(const Result<StateTaken>& taken, node::v1::TakeStateResponse* message);
Result<StateTaken> ReadStateTaken(const node::v1::TakeStateResponse& message);

// One event after the other.
class StateWriter {
 public:
  // An error travels as the only event. REQUIRES: else a state with bytes and tokens.
  explicit StateWriter(Result<BoundState> state) : state_(std::move(state)) {}
  // The next, into `event`. False: that was the last.
  bool Next(node::v1::StateEvent* event);

 private:
  Result<BoundState> state_;
  bool begun_ = false;
  size_t sent_ = 0;
  Sha256 digest_;
};

class StateReader {
 public:
  // `binding`: that it has to have.
  explicit StateReader(std::string binding) : binding_(std::move(binding)) {}
  // After an error nothing more is to be added.
  Status Add(const node::v1::StateEvent& event);
  // The whole, once, or what became of it. Error kUnavailable: it broke off.
  Result<SequenceState> Take();

 private:
  Status AddHeader(const node::v1::StateEvent& event);
  Status AddPiece(const std::string& piece);

  const std::string binding_;
  SequenceState state_;
  uint64_t bytes_ = 0;  // as the header says; 0: there was none
  bool done_ = false;
  Status outcome_;
  Sha256 digest_;
};

}  // namespace evenkeel
