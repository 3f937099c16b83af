// How many of a node's cores each language model may use now. Its steps follow each other without a batch's beginning and end, so it holds cores
// for as long as it has sequences, and gives some back, from its next step on, when batches want them.
//
// Rules
//   Nobody else wants cores: all of them, shared evenly by weight among the language models that have sequences.
//   Batches press (rows wait, an instance is idle, and without language models it had its cores), or `batch_cores` are kept for them: weighted
//     max-min fairness (core_shares.h) between the batches, which want `batch_cores`, and the language models; these have the whole cores of
//     their shares together, at least one unless batches press.
//   Where that leaves a language model less than a core, or the widest batch that waits too few cores, they take turns: batches first; the
//     language models' turn begins when they are behind their shares, and ends once they are ahead of them by kTurn or by a step (of at most
//     200 ms).
// Contract: Targets() is deterministic; the targets' sum is at most `cores`; 0 for a claim that wants nothing, and at most `most`. While batches
//   press, each side gets its turn: see the tests for the bounds. Times must not go back.
// Units: cores, seconds of a core. Thread-safety: thread-compatible; no clock, lock or log inside. Source: issue S3: core gate shared fairly.
#pragma once

#include <span>
#include <vector>

#include "core/clock.h"

namespace evenkeel::policy {

struct StandingClaim {
  bool wants = false;  // it has sequences to run
  int most = 1;        // cores that it can use, at least 1
  double weight = 1;   // above 0
  Duration step{};     // how long a step takes: so late may a change come
  int held = 0;        // cores that it may be using now
};

struct StandingView {
  int cores = 1;
  bool pressed = false;  // batches wait that would have cores without the claims
  int widest = 0;        // cores that the widest of them takes
  int batch_cores =
      0;  // that batches want: those that run, and those that press; else what is to be kept for them
  double batch_weight = 1;  // of all batches together
  std::span<const StandingClaim> claims;
};

class StandingCores {
 public:
  static constexpr Duration kTurn = std::chrono::milliseconds(10);

  // One target a claim. REQUIRES: the claims keep their places from call to call.
  std::vector<int> Targets(const StandingView& view, Time now);
  // Cores that the claims are entitled to while everybody wants all: what batches cannot count on.
  double entitled() const { return entitled_; }

 private:
  void Count(const StandingView& view, double most, Time now);
  bool TheirTurn(double ahead);

  std::vector<double> lags_;    // core-seconds that a claim is behind its share
  std::vector<double> shares_;  // cores, since the last call
  bool bound_ = false;          // shares bound since then
  bool turn_ = true;            // of the language models
  double entitled_ = 0;
  Time last_{};
};

// `budget` cores, one by one to whoever has least for its weight and can use more; of equals to the one that is most behind, then the first.
std::vector<int> ShareWhole(std::span<const StandingClaim> claims, std::span<const double> lags,
                            int budget);

}  // namespace evenkeel::policy
