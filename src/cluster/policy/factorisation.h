// Low-rank factorisation of the task-resource matrix: what few measured pairs say of all the others (B5).
//
// Ours: Y = log(measured / roofline) is completed by pair_model.h. Where nothing is measured, the roofline stands. The rank is the one that predicts left-out pairs best
//   (5 folds), so that noise is not learnt. A cost that was not measured is the expected one, exp(mean + variance / 2): whoever looks for the least of many costs
//   finds those that are predicted too low, and the less certain ones are dearer by just what that costs on average.
// Method: V ~ W H, non-negative, by multiplicative updates over the possible pairs (Lee and Seung's rules for the squared error).
// Deterministic: the same input gives the same output.
// Units: seconds. Shapes: tasks x nodes. An infinite roofline: impossible, whatever is measured.
// Thread-safety: pure.
#pragma once

#include <Eigen/Dense>

#include <vector>

namespace evenkeel {

struct MeasuredPair {
  int task = 0, node = 0;
  double seconds = 0;  // > 0
};

struct Completion {
  Eigen::MatrixXd seconds;    // expected, and where measured the mean of what was measured
  Eigen::MatrixXd deviation;  // standard deviation of their logarithm; 0: measured, or nothing is
  Eigen::MatrixXd factors_of_tasks, factors_of_nodes;  // tasks x rank, nodes x rank
  int rank = 0;                                        // chosen; 0: rows and columns alone
  // Mean absolute error of the logarithm on left-out pairs; 0: too few to leave any out.
  double left_out_error = 0;
};

// REQUIRES: pairs within the matrix, all numbers > 0.
Completion Complete(const Eigen::MatrixXd& roofline, const std::vector<MeasuredPair>& measured);

struct NonNegativeFactors {
  Eigen::MatrixXd tasks;  // tasks x rank
  Eigen::MatrixXd nodes;  // rank x nodes
  double error = 0;       // relative, of the Frobenius norm over the possible pairs
  int rounds = 0;
};

// REQUIRES: rank >= 1. Impossible pairs have no say.
NonNegativeFactors FactoriseNonNegative(const Eigen::MatrixXd& costs, int rank,
                                        int most_rounds = 200);

}  // namespace evenkeel
