// What a client was told of an answer, so that another node can go on with it and nothing is told twice.
//
// How it goes: OnDelta() takes each piece of the running attempt and gives back what of it the client has not had. When the attempt's node is lost, Resume() says
//   where the next one begins; that one tells the answer from its beginning again (BegunChoice), and what the client has is taken off by its length,
//   for the same tokens give the same parts. Tool calls keep the ids that were told first.
// Thread-safety: single-owner.
#pragma once

#include <map>
#include <optional>
#include <string>
#include <vector>

#include "core/generation.h"

namespace evenkeel {

class ToldAnswer {
 public:
  explicit ToldAnswer(int choices) : choices_(static_cast<size_t>(choices)) {}

  // REQUIRES: delta.choice is one of the choices. nullopt: nothing of it is new.
  std::optional<GenerationDelta> OnDelta(const GenerationDelta& delta);
  void OnFinish(int choice) { choices_[static_cast<size_t>(choice)].begun.ended = true; }

  // Begins the next attempt.
  std::vector<BegunChoice> Resume();
  std::vector<BegunChoice> Snapshot() const;  // what Resume() would give now
  bool begun() const;                         // a token came
  bool all_ended() const;
  int64_t tokens() const;        // that came, of all choices
  int64_t ended_tokens() const;  // of choices that ended before the running attempt began
  bool valid(int choice) const {
    return choice >= 0 && static_cast<size_t>(choice) < choices_.size();
  }
  // REQUIRES: valid(choice).
  bool ended(int choice) const { return choices_[static_cast<size_t>(choice)].begun.ended; }

 private:
  struct ToldCall {
    bool named = false;
    size_t arguments = 0;  // bytes
    size_t again = 0;      // bytes that the running attempt has told
  };
  struct Choice {
    BegunChoice begun;
    size_t text = 0, reasoning = 0;              // bytes that the client has
    size_t text_again = 0, reasoning_again = 0;  // bytes that the running attempt has told
    std::map<int, ToldCall> calls;               // by index
    bool ended_before = false;
  };
  std::vector<Choice> choices_;
};

}  // namespace evenkeel
