// How many prompt tokens a step may take beside answering sequences, so that their next tokens come in time.
//
// A step takes about base + tokens x cost: the base is measured on steps without prompts, the cost on those with. The budget is what
// fits into the objective, but prompts get at least half of the base's time (else first tokens starve where answers alone take
// longer than the objective) and at least kLeast tokens. Without answers: kMost, beyond which the rate of prompts falls.
// Where nobody stated the objective it gives way to a backlog: as many tokens a step as get all prompt tokens that are here (`backlog`, L)
//   done within kPatience, in steps of at most kStretch objectives, or of kAnswers times the base where that is more: on a slow machine answers alone take
//   longer than the objective, and prompts have four fifths of the time there. At r = L / kPatience tokens a second that is n = r base / (1 - r cost). Else
//   prompts that come faster than small pieces are done fill one slot after the other, until everybody is refused for the wait.
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

  static constexpr double kPatience = 0.125;  // seconds
  static constexpr double kStretch = 4, kAnswers = 5;

  // `stated`: somebody wants the objective kept; else it is what is usual.
  explicit ChunkBudget(Duration objective, bool stated = true)
      : objective_(Seconds(objective)), stated_(stated) {}

  // Where measuring begins: a step of answers alone, and a prompt token. What was measured stays.
  void Seed(Duration answers, Duration prompt_token) {
    if (base_ <= 0) base_ = Seconds(answers);
    if (cost_ <= 0) cost_ = Seconds(prompt_token);
  }
  double token_cost() const { return cost_; }  // seconds a prompt token; 0: not measured
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

  // `backlog`: prompt tokens that are to be computed, of all that run or wait.
  int Tokens(int answers, int64_t backlog = 0) const {
    if (answers == 0) return kMost;
    if (cost_ <= 0) return kUnknown;
    const double room = share_ * std::max(objective_ - base_, base_ / 2);
    const double tokens = std::max(room / cost_, Backlog(backlog));
    return static_cast<int>(std::clamp<double>(tokens, kLeast, kMost));
  }

 private:
  static constexpr double kWeight = 0.1;  // of a new observation
  static void Blend(double* value, double seen) {
    *value = *value <= 0 ? seen : (1 - kWeight) * *value + kWeight * seen;
  }

  double Backlog(int64_t tokens) const {
    if (stated_) return 0;
    const double rate = static_cast<double>(tokens) / kPatience;
    const double most = (std::max(kStretch * objective_, kAnswers * base_) - base_) / cost_;
    return rate * cost_ < 1 ? std::min(most, rate * base_ / (1 - rate * cost_)) : most;
  }

  const double objective_;  // seconds
  const bool stated_;
  double share_ = 1;
  double base_ = 0;  // seconds of a step of answers alone; 0: not measured
  double cost_ = 0;  // seconds a prompt token; 0: not measured
};

}  // namespace evenkeel::policy
