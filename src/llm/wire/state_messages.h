// Frames about sequences' states: the daemon asks the worker for one, or gives it one to go on from; they travel in pieces, between which tokens pass.
//
//   daemon → worker   kSaveState: of a sequence that answers. kLoadState: a piece of a state, the pieces in order
//   worker → daemon   kState: a piece of the state that was asked for. kStateEnd: why there is none; or what became of one that was loaded
// Contract: decoders take any bytes and check every number and size; what the engine is to read of a state is checked by kv_state.h. Of a state
//   that is put together (StateAssembly) no more is held than it says it has, which is kMostStateBytes at most.
// Thread-safety: decoders thread-safe; StateCutter and StateAssembly single-owner.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "core/sequence_state.h"
#include "core/status.h"

namespace evenkeel {

inline constexpr size_t kStatePieceBytes = size_t{256} << 10;  // at most

// Ids of states are the daemon's, and not those of sequences.
struct StateWanted {
  uint64_t id = 0;        // not 0
  uint64_t sequence = 0;  // not 0
};

struct StatePiece {
  uint64_t id = 0;      // not 0
  uint64_t total = 0;   // bytes of the whole state, 1 to kMostStateBytes
  uint64_t offset = 0;  // of this piece
  // In the first piece, and in no other:
  std::string kind;
  std::vector<int32_t> tokens;
  std::string bytes;  // 1 to kStatePieceBytes
};

struct StateEnd {
  uint64_t id = 0;
  Status status;
};

std::string Encode(const StateWanted& wanted);
std::string Encode(const StatePiece& piece);
std::string Encode(const StateEnd& end);
// Error kInternal, naming the message.
Result<StateWanted> DecodeStateWanted(std::string_view bytes);
Result<StatePiece> DecodeStatePiece(std::string_view bytes);
Result<StateEnd> DecodeStateEnd(std::string_view bytes);

// Cuts a state into pieces.
class StateCutter {
 public:
  // REQUIRES: a state with bytes and tokens.
  StateCutter(uint64_t id, SequenceState state) : id_(id), state_(std::move(state)) {}
  bool done() const { return sent_ >= state_.bytes.size(); }
  StatePiece Piece() const;  // the next. REQUIRES: !done()
  void Sent();               // it was taken

 private:
  uint64_t id_;
  SequenceState state_;
  size_t sent_ = 0;
};

// Puts one together again. A first piece begins anew, whatever was there.
class StateAssembly {
 public:
  // True: it is whole. Error kInternal: a piece that does not follow the one before; what was there is dropped.
  Result<bool> Add(const StatePiece& piece);
  // REQUIRES: Add() said that it is whole. Nothing is left.
  SequenceState Take();

 private:
  uint64_t id_ = 0;  // 0: nothing is there
  uint64_t total_ = 0;
  SequenceState state_;
};

}  // namespace evenkeel
