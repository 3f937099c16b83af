#include "cluster/policy/factorisation.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <random>

namespace evenkeel {
namespace {

// True costs: the roofline times what it does not know, two hidden tastes, and noise.
struct World {
  Eigen::MatrixXd roofline, truth;
  std::vector<MeasuredPair> measured;
};

World MakeWorld(int tasks, int nodes, double share, double noise, uint64_t seed) {
  std::mt19937_64 rng(seed);
  std::normal_distribution<double> normal;
  World world;
  world.roofline.resize(tasks, nodes);
  world.truth = world.roofline;
  Eigen::MatrixXd u(tasks, 2), v(nodes, 2);
  u = u.unaryExpr([&](double) { return normal(rng); });
  v = v.unaryExpr([&](double) { return normal(rng); });
  Eigen::VectorXd a(tasks), b(nodes);
  a = a.unaryExpr([&](double) { return 0.5 * normal(rng); });
  b = b.unaryExpr([&](double) { return 0.3 * normal(rng); });
  for (int j = 0; j < tasks; ++j) {
    for (int i = 0; i < nodes; ++i) {
      world.roofline(j, i) = std::exp(normal(rng));
      world.truth(j, i) =
          world.roofline(j, i) * std::exp(0.4 + a[j] + b[i] + 0.3 * u.row(j).dot(v.row(i)));
    }
  }
  std::uniform_real_distribution<double> uniform;
  for (int j = 0; j < tasks; ++j) {
    int count = 0;
    for (int i = 0; i < nodes; ++i) {
      // At least two a task.
      const bool must = count + (nodes - i) <= 2 && count < 2;
      if (!must && uniform(rng) >= share) continue;
      ++count;
      world.measured.push_back({j, i, world.truth(j, i) * std::exp(noise * normal(rng))});
    }
  }
  return world;
}

double MedianError(const World& world, const Eigen::MatrixXd& predicted) {
  Eigen::MatrixXd known = Eigen::MatrixXd::Zero(predicted.rows(), predicted.cols());
  for (const MeasuredPair& pair : world.measured) known(pair.task, pair.node) = 1;
  std::vector<double> errors;
  for (int j = 0; j < predicted.rows(); ++j) {
    for (int i = 0; i < predicted.cols(); ++i) {
      if (known(j, i) == 0) errors.push_back(std::abs(predicted(j, i) / world.truth(j, i) - 1));
    }
  }
  std::ranges::nth_element(errors, errors.begin() + static_cast<ptrdiff_t>(errors.size() / 2));
  return errors[errors.size() / 2];
}

TEST(FactorisationTest, AFifthOfThePairsPredictsTheOthers) {
  std::vector<double> errors;
  for (uint64_t seed = 0; seed < 5; ++seed) {
    const World world = MakeWorld(200, 16, 0.2, 0.03, seed);
    const Completion completion = Complete(world.roofline, world.measured);
    errors.push_back(MedianError(world, completion.seconds));
    EXPECT_GT(completion.rank, 0) << "there is more than rows and columns";
    EXPECT_LT(errors.back(), 0.7 * MedianError(world, world.roofline));
  }
  std::ranges::sort(errors);
  EXPECT_LE(errors[errors.size() / 2], 0.15);
}

TEST(FactorisationTest, WhereNothingIsMeasuredTheRooflineStands) {
  const World world = MakeWorld(5, 3, 0.5, 0, 1);
  EXPECT_TRUE(Complete(world.roofline, {}).seconds.isApprox(world.roofline));
}

TEST(FactorisationTest, WhatIsMeasuredStands) {
  const World world = MakeWorld(20, 5, 0.5, 0.1, 2);
  const Completion completion = Complete(world.roofline, world.measured);
  for (const MeasuredPair& pair : world.measured)
    EXPECT_NEAR(completion.seconds(pair.task, pair.node), pair.seconds, 1e-9 * pair.seconds);
}

TEST(FactorisationTest, AMeanOfRepeatedMeasurementsCountsOnce) {
  Eigen::MatrixXd roofline = Eigen::MatrixXd::Ones(2, 2);
  const Completion completion = Complete(roofline, {{0, 0, 1.0}, {0, 0, 4.0}});
  EXPECT_NEAR(completion.seconds(0, 0), 2, 1e-12);  // of the logarithms
}

TEST(FactorisationTest, NoiseAloneIsNotLearnt) {
  std::mt19937_64 rng(3);
  std::normal_distribution<double> normal;
  const Eigen::MatrixXd roofline = Eigen::MatrixXd::Ones(60, 8);
  std::vector<MeasuredPair> measured;
  for (int j = 0; j < 60; ++j) {
    for (int i = j % 2; i < 8; i += 2) measured.push_back({j, i, std::exp(0.3 * normal(rng))});
  }
  const Completion completion = Complete(roofline, measured);
  EXPECT_EQ(completion.rank, 0);
  EXPECT_LT(std::abs(std::log(completion.seconds(0, 1))), 0.3);
}

TEST(FactorisationTest, AnImpossiblePairStaysImpossible) {
  World world = MakeWorld(10, 4, 0.8, 0.05, 4);
  world.roofline(3, 2) = std::numeric_limits<double>::infinity();
  world.measured.push_back({3, 2, 1.0});
  EXPECT_TRUE(std::isinf(Complete(world.roofline, world.measured).seconds(3, 2)));
}

TEST(NonNegativeTest, FindsTheFactorsOfAProduct) {
  std::mt19937_64 rng(5);
  std::uniform_real_distribution<double> uniform(0.1, 1);
  Eigen::MatrixXd w(30, 2), h(2, 6);
  w = w.unaryExpr([&](double) { return uniform(rng); });
  h = h.unaryExpr([&](double) { return uniform(rng); });
  Eigen::MatrixXd costs = w * h;
  const NonNegativeFactors factors = FactoriseNonNegative(costs, 2, 2000);
  EXPECT_LT(factors.error, 0.02);
  EXPECT_GE(factors.tasks.minCoeff(), 0);
  EXPECT_GE(factors.nodes.minCoeff(), 0);
  // The error never rises from round to round.
  double last = 1;
  for (int rounds = 1; rounds < 30; ++rounds) {
    const double error = FactoriseNonNegative(costs, 2, rounds).error;
    EXPECT_LE(error, last + 1e-9);
    last = error;
  }
  // A pair that can't be has no say.
  costs(4, 1) = std::numeric_limits<double>::infinity();
  const NonNegativeFactors without = FactoriseNonNegative(costs, 2, 2000);
  EXPECT_LT(without.error, 0.02);
  EXPECT_NEAR((without.tasks * without.nodes)(4, 1), (w * h)(4, 1), 0.1);
}

}  // namespace
}  // namespace evenkeel
