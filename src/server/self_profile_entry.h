// What the daemon's profiling remembers of one served version.
//
// Not for use outside self_profile*.cc. Thread-safety: guarded by SelfProfile::mutex_.
#pragma once

#include "server/self_profile.h"

namespace evenkeel {

struct SelfProfile::Entry {
  std::weak_ptr<ProfiledModel> model;
  std::string label;  // "digits/1", for messages
  Phase phase = Phase::kWaiting;
  std::string why;     // kOff, kFailed
  Time try_at{};       // kWaiting and kFailed: not before
  bool fresh = false;  // what was measured before is forgotten when the sweep begins
  bool gone = false;   // unloaded or replaced

  // Of the table; `rows` are the complete ones while a new sweep runs.
  TableKey key;
  std::string stamp, inputs;
  LoadRows rows;
  bool complete = false;  // `rows` are a whole table
  size_t cells_run = 0, cells_expected = 0, cells = 0;
  int times_measured = 0;
  Time measured{};
  std::string advice;
  DriftDetector drift;

  // Of the choice.
  std::optional<FormDecision> decision;
  Time decided{};
  double decided_rate = 0;
  Duration decided_objective{};
  bool redecide = false;
  int64_t least_memory = 0;     // instances with less were killed
  std::optional<Cell> current;  // adopted
  std::string adopted_why;
  bool adopting = false;
  Time restarted{};    // when its instances were last exchanged
  Time adopt_again{};  // after a failure
  std::string adoption_failure;
  bool to_keep = false;  // `current` is not in the store yet
};

}  // namespace evenkeel
