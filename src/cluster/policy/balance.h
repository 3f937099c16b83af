// The differential equation that keeps the nodes' loads level (B8), and what it says before it is run.
//
//   dL_i/dt = A_i - gamma L_i + kappa (C_i sum L / sum C - L_i) + sum_j m_ij (L_j/C_j - L_i/C_i)
//   L: load, seconds of work that wait or run on a node, at capacity 1. A: load that arrives a second. gamma L: what is worked off. C: capacity.
//   kappa: new work that routing sends where load is low, 1/s. m: work that moves between two nodes, symmetric (else load would be created), 1/s times capacity.
// The claim's three terms (decay, spontaneous balance, migration) and the arrivals; its averages are plain (`Method`: A = 0, C = 1).
// V = 1/2 sum C_i (L_i/C_i - mean)^2 with mean = sum L / sum C falls while arrivals are even, A_i / C_i the same everywhere.
// Sampled every h seconds with figures that are d samples old, a mode of rate `lambda` is stable only for lambda h < 2 sin(pi / (2 (2 d + 1))), and
//   does not overshoot for lambda h <= d^d / (d+1)^(d+1), which is 1/4 at d = 1 (d = 0: 1).
// Units: seconds. Thread-safety: pure. Differs from the claim: capacities, arrivals.
#pragma once

#include <Eigen/Dense>

#include "core/status.h"

namespace evenkeel {

struct BalanceModel {
  Eigen::VectorXd arrivals;  // by node, >= 0
  Eigen::VectorXd capacity;  // by node, > 0
  double gamma = 0;          // >= 0
  double kappa = 0;          // >= 0
  Eigen::MatrixXd moves;     // symmetric, >= 0; the diagonal has no meaning

  static BalanceModel Method(int nodes, double gamma, double kappa, double moves);
};

// kInvalidArgument: sizes, signs, a matrix that is not symmetric.
Status CheckModel(const BalanceModel& model);

Eigen::VectorXd Derivative(const BalanceModel& model, const Eigen::VectorXd& load);
// The load after `seconds`, by an adaptive Runge-Kutta method of order 5 (Boost.odeint), errors below 1e-9.
Eigen::VectorXd Integrate(const BalanceModel& model, const Eigen::VectorXd& load, double seconds);
// Where it ends: exact. REQUIRES: gamma > 0, or no arrivals (then the balanced load of the same sum).
Eigen::VectorXd SteadyLoad(const BalanceModel& model, const Eigen::VectorXd& load);
double Imbalance(const BalanceModel& model, const Eigen::VectorXd& load);  // V
// Rates of the modes that are out of balance, 1/s: the slowest says how long balancing takes, the fastest how often one must look.
struct ModeRates {
  double slowest = 0, fastest = 0;
  Eigen::VectorXd slowest_mode;  // a deviation of loads that decays at the slowest rate
};
ModeRates RatesOf(const BalanceModel& model);

// lambda h must be below the first, and at most the second for no overshoot. REQUIRES: age >= 0.
double StableBound(int age_samples);
double SmoothBound(int age_samples);
// kappa and moves, scaled down together so that the fastest mode keeps to the smooth bound for samples of `period_s` with figures `age_samples` old.
BalanceModel Damped(BalanceModel model, double period_s, int age_samples);

// Load that moves a second from i to j (above 0 where i has more for its capacity): m_ij (L_i/C_i - L_j/C_j).
Eigen::MatrixXd Flows(const BalanceModel& model, const Eigen::VectorXd& load);

}  // namespace evenkeel
