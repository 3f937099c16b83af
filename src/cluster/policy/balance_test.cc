#include "cluster/policy/balance.h"

#include <gtest/gtest.h>

#include <cmath>
#include <deque>
#include <random>

#include "cluster/policy/moves.h"

namespace evenkeel {
namespace {

BalanceModel Model(uint64_t seed, int nodes, bool even) {
  std::mt19937_64 rng(seed);
  std::uniform_real_distribution<double> uniform(0.2, 2);
  BalanceModel model;
  model.capacity.resize(nodes);
  model.arrivals.resize(nodes);
  model.moves = Eigen::MatrixXd::Zero(nodes, nodes);
  for (int i = 0; i < nodes; ++i) {
    model.capacity[i] = uniform(rng);
    model.arrivals[i] = even ? 0.3 * model.capacity[i] : uniform(rng);
    for (int j = 0; j < i; ++j) model.moves(i, j) = model.moves(j, i) = 0.2 * uniform(rng);
  }
  model.gamma = 0.4;
  model.kappa = 0.3;
  return model;
}

Eigen::VectorXd Loads(uint64_t seed, int nodes) {
  std::mt19937_64 rng(seed + 77);
  std::uniform_real_distribution<double> uniform(0, 10);
  Eigen::VectorXd load(nodes);
  for (int i = 0; i < nodes; ++i) load[i] = uniform(rng);
  return load;
}

TEST(BalanceTest, WithEvenArrivalsTheImbalanceNeverRises) {
  for (uint64_t seed = 0; seed < 50; ++seed) {
    const int nodes = 2 + static_cast<int>(seed % 6);
    const BalanceModel model = Model(seed, nodes, /*even=*/true);
    ASSERT_TRUE(CheckModel(model).ok());
    Eigen::VectorXd load = Loads(seed, nodes);
    double last = Imbalance(model, load);
    for (int step = 0; step < 40; ++step) {
      load = Integrate(model, load, 0.25);
      const double now = Imbalance(model, load);
      EXPECT_LE(now, last + 1e-12);
      last = now;
    }
    EXPECT_LT(last, 1e-2 * Imbalance(model, Loads(seed, nodes)));
  }
}

TEST(BalanceTest, TheSlowestModeDecaysAsItsRateSays) {
  for (uint64_t seed = 0; seed < 20; ++seed) {
    const BalanceModel model = Model(seed, 5, /*even=*/true);
    const ModeRates rates = RatesOf(model);
    EXPECT_LE(rates.slowest, rates.fastest);
    // In that mode V falls with twice its rate.
    const Eigen::VectorXd start = SteadyLoad(model, {}) + rates.slowest_mode;
    const double seconds = 0.5 / rates.slowest;
    const double fell =
        std::log(Imbalance(model, start) / Imbalance(model, Integrate(model, start, seconds)));
    // Any other start decays between the slowest and the fastest rate.
    const Eigen::VectorXd other = Loads(seed, 5);
    const double other_fell =
        std::log(Imbalance(model, other) / Imbalance(model, Integrate(model, other, seconds)));
    EXPECT_GE(other_fell / (2 * seconds), rates.slowest * (1 - 1e-6));
    EXPECT_LE(other_fell / (2 * seconds), rates.fastest * (1 + 1e-6));
    EXPECT_NEAR(fell / (2 * seconds), rates.slowest, 0.01 * rates.slowest);
  }
}

TEST(BalanceTest, UnevenArrivalsLeaveTheDeviationThatTheorySays) {
  for (uint64_t seed = 0; seed < 20; ++seed) {
    const BalanceModel model = Model(seed, 4, /*even=*/false);
    const Eigen::VectorXd steady = SteadyLoad(model, Loads(seed, 4));
    EXPECT_LT(Derivative(model, steady).cwiseAbs().maxCoeff(), 1e-9);
    const Eigen::VectorXd end = Integrate(model, Loads(seed, 4), 100);
    for (int i = 0; i < 4; ++i) EXPECT_NEAR(end[i], steady[i], 0.01 * std::abs(steady[i]) + 1e-6);
    EXPECT_GT(Imbalance(model, steady), 0);
  }
}

TEST(BalanceTest, MovesNeitherMakeNorLoseLoad) {
  BalanceModel model = Model(3, 5, true);
  model.gamma = 0;
  model.arrivals.setZero();
  const Eigen::VectorXd load = Loads(3, 5);
  EXPECT_NEAR(Integrate(model, load, 30).sum(), load.sum(), 1e-6);
  EXPECT_NEAR(SteadyLoad(model, load).sum(), load.sum(), 1e-9);
  const Eigen::MatrixXd flows = Flows(model, load);
  EXPECT_LT((flows + flows.transpose()).cwiseAbs().maxCoeff(), 1e-12);
}

TEST(BalanceTest, TheMethodTendsToThePlainAverage) {
  BalanceModel model = BalanceModel::Method(4, 0, 0.5, 0.2);
  const Eigen::VectorXd load = Loads(9, 4);
  const Eigen::VectorXd end = Integrate(model, load, 60);
  for (int i = 0; i < 4; ++i) EXPECT_NEAR(end[i], load.mean(), 1e-6);
}

// What a sampled controller with old figures does to the modes: L' = L + h * (rate of change by the figures of d samples ago).
double LastImbalance(const BalanceModel& model, double period, int age, int samples,
                     bool* overshot = nullptr, double noise = 0) {
  std::mt19937_64 rng(4);
  std::uniform_real_distribution<double> uniform(-noise, noise);
  Eigen::VectorXd load(2);
  load << 10, 0;
  std::deque<Eigen::VectorXd> seen(static_cast<size_t>(age) + 1, load);
  for (int i = 0; i < samples; ++i) {
    Eigen::VectorXd figures = seen.front();
    for (int node = 0; node < 2; ++node) figures[node] *= 1 + uniform(rng);
    load += period * Derivative(model, figures);
    seen.pop_front();
    seen.push_back(load);
    if (overshot != nullptr && load[0] < load[1] - 1e-9) *overshot = true;
  }
  return Imbalance(model, load);
}

TEST(BalanceTest, IsStableInsideTheSampledBoundAndDivergesOutside) {
  for (const int age : {0, 1, 2, 5}) {
    for (const bool inside : {true, false}) {
      BalanceModel model = BalanceModel::Method(2, 0, 1, 0);
      model.kappa = StableBound(age) * (inside ? 0.97 : 1.03);
      const double end = LastImbalance(model, 1, age, 3000);
      EXPECT_EQ(end < 1e-3, inside) << age << ": " << end;
      EXPECT_EQ(end > 1e3, !inside) << age << ": " << end;
    }
    BalanceModel model = BalanceModel::Method(2, 0, SmoothBound(age) * 0.999, 0);
    bool overshot = false;
    EXPECT_LT(LastImbalance(model, 1, age, 3000, &overshot), 1e-3) << age;
    EXPECT_FALSE(overshot) << age;
  }
  EXPECT_DOUBLE_EQ(SmoothBound(1), 0.25);
}

TEST(BalanceTest, DampingKeepsToTheBoundAndNoiseDoesNotMakeItSwing) {
  BalanceModel model = BalanceModel::Method(2, 0, 20, 5);
  EXPECT_GT(LastImbalance(model, 1, 5, 200), 1e6);
  const BalanceModel damped = Damped(model, 1, 5);
  EXPECT_LE(RatesOf(damped).fastest, SmoothBound(5) * (1 + 1e-9));
  EXPECT_LT(LastImbalance(damped, 1, 5, 400, nullptr, 0.2), 0.02 * 25);
  // What is slow enough stays.
  const BalanceModel slow = BalanceModel::Method(2, 0, 0.01, 0);
  EXPECT_DOUBLE_EQ(Damped(slow, 1, 5).kappa, 0.01);
}

TEST(BalanceTest, WhatIsNoModelIsRefused) {
  BalanceModel model = Model(1, 3, true);
  model.moves(0, 1) += 0.1;
  EXPECT_NE(CheckModel(model).message().find("the same both ways"), std::string::npos);
  model = Model(1, 3, true);
  model.capacity[1] = 0;
  EXPECT_EQ(CheckModel(model).code(), Code::kInvalidArgument);
  model = Model(1, 3, true);
  model.gamma = -1;
  EXPECT_EQ(CheckModel(model).code(), Code::kInvalidArgument);
  EXPECT_EQ(CheckModel({}).code(), Code::kInvalidArgument);
}

// Moves

MoveSnapshot TwoNodes() {
  MoveSnapshot snapshot;
  snapshot.load.resize(2);
  snapshot.load << 10, 0;
  snapshot.capacity = Eigen::VectorXd::Ones(2);
  snapshot.room = {1000, 1000};
  snapshot.flows = Eigen::MatrixXd::Zero(2, 2);
  snapshot.flows(0, 1) = 2;
  snapshot.flows(1, 0) = -2;
  for (int i = 0; i < 5; ++i)
    snapshot.items.push_back(
        {static_cast<uint64_t>(i), 0, MovableKind::kSequence, 2, 100, {0, 0.1}});
  return snapshot;
}

TEST(MovesTest, AHigherCostStopsThem) {
  MoveSnapshot snapshot = TwoNodes();
  double last = 1e9;
  for (const double cost : {0.0, 1.0, 4.0, 7.9}) {
    for (Movable& item : snapshot.items) item.cost_s = {0, cost};
    Eigen::MatrixXd carried = Eigen::MatrixXd::Zero(2, 2);
    const auto moves = PlanMoves(snapshot, &carried);
    ASSERT_EQ(moves.size(), 1u) << cost;
    EXPECT_LE(moves[0].gain_s, last);
    last = moves[0].gain_s;
  }
  for (Movable& item : snapshot.items) item.cost_s = {0, 8.1};
  Eigen::MatrixXd carried = Eigen::MatrixXd::Zero(2, 2);
  EXPECT_TRUE(PlanMoves(snapshot, &carried).empty());
}

TEST(MovesTest, OneAtATimeBetweenTwoNodes) {
  MoveSnapshot snapshot = TwoNodes();
  Eigen::MatrixXd carried = Eigen::MatrixXd::Zero(2, 2);
  EXPECT_EQ(PlanMoves(snapshot, &carried).size(), 1u);
  snapshot.moving = {{1, 0}};
  EXPECT_TRUE(PlanMoves(snapshot, &carried).empty());
}

TEST(MovesTest, RoomIsNeverOverfilled) {
  MoveSnapshot snapshot = TwoNodes();
  snapshot.room[1] = 99;
  Eigen::MatrixXd carried = Eigen::MatrixXd::Zero(2, 2);
  EXPECT_TRUE(PlanMoves(snapshot, &carried).empty());
}

TEST(MovesTest, TheLightestKindGoesFirst) {
  MoveSnapshot snapshot = TwoNodes();
  snapshot.items.push_back({9, 0, MovableKind::kQueued, 1, 0, {0, 0}});
  Eigen::MatrixXd carried = Eigen::MatrixXd::Zero(2, 2);
  EXPECT_EQ(PlanMoves(snapshot, &carried).at(0).id, 9u);
}

TEST(MovesTest, FractionsAddUpToAnItem) {
  MoveSnapshot snapshot = TwoNodes();
  snapshot.flows *= 0.2;  // 0.4 of load a second, items of 2: half of one after three seconds
  Eigen::MatrixXd carried = Eigen::MatrixXd::Zero(2, 2);
  EXPECT_TRUE(PlanMoves(snapshot, &carried).empty());
  EXPECT_TRUE(PlanMoves(snapshot, &carried).empty());
  EXPECT_EQ(PlanMoves(snapshot, &carried).size(), 1u);
  // A flow that turned round owes nothing.
  snapshot.flows *= -1;
  PlanMoves(snapshot, &carried);
  EXPECT_EQ(carried(0, 1), 0);
}

TEST(MovesTest, ASmallDifferenceIsLeftAlone) {
  MoveSnapshot snapshot = TwoNodes();
  snapshot.load << 2.02, 0;
  snapshot.hysteresis_s = 0.05;
  for (Movable& item : snapshot.items) item.cost_s = {0, 0};
  Eigen::MatrixXd carried = Eigen::MatrixXd::Constant(2, 2, 2);
  EXPECT_TRUE(PlanMoves(snapshot, &carried).empty());
}

}  // namespace
}  // namespace evenkeel
