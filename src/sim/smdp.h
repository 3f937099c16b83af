// The best policy there is for one model, one instance and Poisson arrivals: what others are measured against.
//
// A semi-Markov decision process. State: n rows in the system, looked at whenever the instance is idle. Actions: wait for the next
// arrival (1/lambda on average), or run b rows, b in {1, 2, 4, ... B, n}, b <= min(n, B), for T(b). With O the objective, K the
// threads of the instance and p the price of core time in objectives a core-second, cost accrues as
//   (rows in the system) / O a second, and p K T(b) a batch,
// so that the mean cost a row is mean latency / O + p * core-seconds a row. The gain is minimised by relative value iteration on Schweitzer's
// transformation, over 0 .. kSmdpStates - 1 rows (arrivals beyond are cut off: loads up to 0.95 of T(B)/B do not reach it), until the
// bounds of the gain are within 0.1 % of each other or kMaxIterations.
// Contract: REQUIRES one model with one lane and one instance, as it was built for. Deterministic.
// Units: rows, seconds. Thread-safety: thread-compatible.
#pragma once

#include <memory>
#include <vector>

#include "batching/policy/node_policy.h"

namespace evenkeel::sim {

inline constexpr int kSmdpStates = 512;

struct SmdpPlan {
  std::vector<int> rows;  // by rows that wait: how many to run, 0: wait
  double cost = 0;        // a row, as above
  int iterations = 0;
};

struct SmdpProblem {
  const policy::BatchCurve* curve = nullptr;
  int max_batch = 64;
  int threads = 1;
  double rate_rps = 0;  // > 0
  Duration objective{};
  double price = 0;
};

SmdpPlan SolveSmdp(const SmdpProblem& problem);
std::unique_ptr<policy::NodePolicy> MakeSmdp(SmdpPlan plan);

}  // namespace evenkeel::sim
