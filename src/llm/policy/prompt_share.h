// How much of a step prompts get beside answers, in parts of what the budget would give them (chunk_budget.h): more while first tokens are
// late, less while tokens are.
//
// s <- clamp(s exp(kGain (max(0, ln F) - max(0, ln I)))), where F is the first tokens' time over their objective and I the same of the time from
//   token to token. While neither is late s goes back towards 1. Where both are, the one that is later by its own objective gains.
// Contract: pure; between kLeast and kMost; unlike F, s does not change with an interval in which nothing was seen. Units: parts.
// Thread-safety: thread-compatible. Source: issue S3: the objective time_to_first_token.
#pragma once

#include <algorithm>
#include <cmath>
#include <optional>

namespace evenkeel::policy {

class PromptShare {
 public:
  static constexpr double kLeast = 0.25, kMost = 4;
  static constexpr double kGain = 0.5;
  static constexpr double kBack = 0.9;      // of its logarithm stays, an interval
  static constexpr double kFurthest = 1.5;  // a lateness counts for at most e^1.5

  // What was seen in an interval, over the objectives (above 1: late). nullopt: nothing was seen, or there is no objective.
  void Observe(std::optional<double> first_token, std::optional<double> inter_token) {
    if (!first_token && !inter_token) return;
    const double push = Late(first_token) - Late(inter_token);
    const double power = std::log(share_);
    share_ = std::clamp(std::exp(push != 0 ? power + kGain * push : power * kBack), kLeast, kMost);
  }
  double share() const { return share_; }

 private:
  static double Late(std::optional<double> ratio) {
    return ratio && *ratio > 1 ? std::min(std::log(*ratio), kFurthest) : 0;
  }
  double share_ = 1;
};

}  // namespace evenkeel::policy
