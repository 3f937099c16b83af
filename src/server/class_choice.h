// Which classes a model that leaves its class open holds instances of: the processor, the accelerator, or both.
//
// Rule: SelectClass() at the forecast says which class costs least an item among those that keep the objective (the winner).
//   - The winner alone, as long as it carries the load: rate <= 0.8 x its items a second. That is the most that any row on the chosen
//     shape gives with 2 p99 <= objective, x as many instances as the host holds of that shape, or as the settings say of the accelerator.
//   - Both beyond that: the faster is filled first and the other takes the overflow (batching/policy/overflow.h).
//   - Both too while one of them is not measured, or while neither keeps the objective.
// Hysteresis: from one to both at once. From both to one when the load has been below kCalm of what the winner carries for kSettle. From
//   one to the other when that saves more than kLeastGain of the cost an item, or is the only one that keeps the objective, and the last
//   change was kSettle ago.
// Contract: at least one class is held. Thread-safety: thread-compatible; no clock inside. Source: A2.
#pragma once

#include <optional>
#include <string>

#include "core/clock.h"
#include "profiling/policy/select_class.h"

namespace evenkeel {

struct HeldClasses {
  bool cpu = true, gpu = true;
  std::string why;  // "nothing was measured yet" or what decided
};

struct ClassQuery {
  LoadRows rows;             // of both classes, that could be chosen now
  ObjectiveQuery objective;  // with the forecast; 0: nothing is asked
  int gpu_instances = 1;
};

class ClassHolding {
 public:
  static constexpr double kMostBusy = 0.8, kCalm = 0.75, kLeastGain = 0.1;
  static constexpr Duration kSettle = std::chrono::seconds(60);

  // What is to be held from now on.
  const HeldClasses& Decide(const ClassQuery& query, Time now);
  const HeldClasses& held() const { return held_; }
  // Of the last decision; nullopt: none was made.
  const std::optional<ClassChoice>& choice() const { return choice_; }

 private:
  HeldClasses Wanted(const ClassQuery& query, Time now);

  HeldClasses held_{true, true, "nothing was measured yet"};
  std::optional<ClassChoice> choice_;
  bool decided_ = false;
  Time changed_{}, busy_{};  // busy_: when both were last of use
};

}  // namespace evenkeel
