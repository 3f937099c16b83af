// How many prompt tokens a step may take beside answering sequences, so that their next tokens come in time.
//
// A step takes about base + tokens x cost: the base is measured on steps without prompts, the cost on those with. The budget is what
// fits into the objective, but prompts get at least half of the base's time (else first tokens starve where answers alone take
// longer than the objective) and at least kLeast tokens. Without answers: kMost, beyond which the rate of prompts falls.
// Contract: pure; the same observations give the same budgets. Units: tokens, Duration. Thread-safety: thread-compatible.
#pragma once

#include <algorithm>

#include "core/clock.h"

namespace evenkeel::policy {

class ChunkBudget {
 public:
  static constexpr int kMost = 512;
  static constexpr int kLeast = 16;
  static constexpr int kUnknown = 64;  // beside answers, before a cost was measured

  explicit ChunkBudget(Duration objective) : objective_(Seconds(objective)) {}

  // Where measuring begins: a step of answers alone, and a prompt token. What was measured stays.
  void Seed(Duration answers, Duration prompt_token) {
    if (base_ <= 0) base_ = Seconds(answers);
    if (cost_ <= 0) cost_ = Seconds(prompt_token);
  }
  // In parts of what the rule above gives; prompt_share.h.
  void SetShare(double share) { share_ = share; }

  void Observe(int answers, int prompt_tokens, Duration took) {
    const double seconds = Seconds(took);
    if (prompt_tokens == 0) {
      if (answers > 0) Blend(&base_, seconds);
    } else if (prompt_tokens >= kLeast) {
      Blend(&cost_, std::max(0.0, seconds - (answers > 0 ? base_ : 0.0)) / prompt_tokens);
    }
  }

  int Tokens(int answers) const {
    if (answers == 0) return kMost;
    if (cost_ <= 0) return kUnknown;
    const double room = share_ * std::max(objective_ - base_, base_ / 2);
    return static_cast<int>(std::clamp<double>(room / cost_, kLeast, kMost));
  }

 private:
  static constexpr double kWeight = 0.1;  // of a new observation
  static void Blend(double* value, double seen) {
    *value = *value <= 0 ? seen : (1 - kWeight) * *value + kWeight * seen;
  }

  const double objective_;  // seconds
  double share_ = 1;
  double base_ = 0;  // seconds of a step of answers alone; 0: not measured
  double cost_ = 0;  // seconds a prompt token; 0: not measured
};

}  // namespace evenkeel::policy
