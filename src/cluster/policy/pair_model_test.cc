#include "cluster/policy/pair_model.h"

#include <gtest/gtest.h>

#include <cmath>
#include <random>

namespace evenkeel {
namespace {

struct Truth {
  Eigen::MatrixXd values;
  std::vector<PairModel::Entry> seen;
};

// Effects, one factor, noise; a share of the pairs is seen.
Truth MakeTruth(int rows, int columns, double share, double factor, double noise, uint64_t seed) {
  std::mt19937_64 random(seed);
  std::normal_distribution<double> normal;
  std::uniform_real_distribution<double> uniform;
  Eigen::VectorXd a(rows), b(columns), u(rows), v(columns);
  for (Eigen::VectorXd* one : {&a, &b, &u, &v})
    *one = one->unaryExpr([&](double) { return normal(random); });
  Truth truth;
  truth.values.resize(rows, columns);
  for (int j = 0; j < rows; ++j) {
    for (int k = 0; k < columns; ++k) {
      truth.values(j, k) = 1 + 0.4 * a[j] + 0.3 * b[k] + factor * u[j] * v[k];
      if (uniform(random) < share)
        truth.seen.push_back({j, k, truth.values(j, k) + noise * normal(random)});
    }
  }
  return truth;
}

TEST(PairModelTest, NothingSeenIsZeroAndUnsure) {
  const PairModel model(3, 2, {}, 1);
  EXPECT_EQ(model.Mean(1, 1), 0);
  EXPECT_GT(model.Variance(1, 1), 0);
}

TEST(PairModelTest, FindsEffectsAndAFactor) {
  const Truth truth = MakeTruth(120, 12, 0.4, 0.5, 0.05, 1);
  const PairModel model(120, 12, truth.seen, 1);
  double square = 0;
  for (int j = 0; j < 120; ++j) {
    for (int k = 0; k < 12; ++k) square += std::pow(model.Mean(j, k) - truth.values(j, k), 2);
  }
  EXPECT_LT(std::sqrt(square / (120 * 12)), 0.15) << "the values scatter by 0.7";
}

// What it says of its own error holds over many pairs that it has not seen.
TEST(PairModelTest, IsAsSureAsItIsRight) {
  double off = 0, said = 0;
  for (uint64_t seed = 0; seed < 8; ++seed) {
    const Truth truth = MakeTruth(200, 16, 0.2, 0.5, 0.08, seed);
    const PairModel model(200, 16, truth.seen, 1);
    Eigen::MatrixXd seen = Eigen::MatrixXd::Zero(200, 16);
    for (const auto& entry : truth.seen) seen(entry.row, entry.column) = 1;
    for (int j = 0; j < 200; ++j) {
      for (int k = 0; k < 16; ++k) {
        if (seen(j, k) != 0) continue;
        off += std::pow(model.Mean(j, k) - truth.values(j, k), 2) + 0.08 * 0.08;
        said += model.Variance(j, k);
      }
    }
  }
  EXPECT_GT(off / said, 0.6);
  EXPECT_LT(off / said, 1.6);
}

TEST(PairModelTest, APairOfWhichLessIsKnownIsLessSure) {
  Truth truth = MakeTruth(60, 8, 0.6, 0.4, 0.05, 2);
  std::erase_if(truth.seen, [](const auto& entry) { return entry.row == 7; });
  const PairModel model(60, 8, truth.seen, 1);
  EXPECT_GT(model.Variance(7, 3), 4 * model.Variance(8, 3));
}

TEST(PairModelTest, IsTheSameEachTime) {
  const Truth truth = MakeTruth(40, 6, 0.5, 0.4, 0.05, 3);
  const PairModel one(40, 6, truth.seen, 2), other(40, 6, truth.seen, 2);
  EXPECT_EQ(one.Mean(5, 5), other.Mean(5, 5));
  EXPECT_EQ(one.Variance(5, 5), other.Variance(5, 5));
}

}  // namespace
}  // namespace evenkeel
