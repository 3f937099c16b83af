#include "profiling/policy/select_objective.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <random>
#include <tuple>

#include "profiling/policy/random_table.h"

namespace evenkeel {
namespace {

constexpr int64_t kMiB = int64_t{1} << 20;

LoadRow Row(int milli_cores, int64_t memory, int batch, double batch_us) {
  LoadRow row;
  row.cell = Cell{{milli_cores, memory, 0, 0}, batch, Precision::kF32};
  row.batch_us = row.p50_us = batch_us;
  row.p99_us = batch_us * 1.1;
  row.no_batch_us = 1000.0 * batch;
  return row;
}

ObjectiveQuery Query(double objective_us, double rate) {
  ObjectiveQuery query;
  query.objective_us = objective_us;
  query.rate_per_s = rate;
  query.host = {4000, 16384 * kMiB, 0, 0};
  return query;
}

// The header's formula once more, with loops for everything.
std::optional<size_t> ByFormula(const LoadRows& rows, const ObjectiveQuery& q, bool* met) {
  struct Figures {
    double latency, cost;
    bool qualifies, possible;
  };
  std::vector<Figures> figures;
  for (const LoadRow& row : rows) {
    const double n = row.cell.batch, t = row.batch_us * 1e-6, t99 = row.p99_us * 1e-6;
    const double rate = q.rate_per_s > 0 ? q.rate_per_s : 0.7 * n / t;
    const double k = std::max(1.0, std::ceil(rate * t / (0.8 * n)));
    const double u = rate * t / (k * n);
    const CellShape& s = row.cell.shape;
    const double gib = 1024.0 * 1024 * 1024;
    const double w =
        (q.host.milli_cores / 1000.0) / (static_cast<double>(q.host.memory_bytes) / gib);
    const double whole = std::ceil(s.milli_cores / 1000.0);
    double worth = whole + w * static_cast<double>(s.memory_bytes) / gib;
    if (s.gpu() && q.host.gpu_cores > 0)
      worth += q.host.milli_cores / 1000.0 * s.gpu_cores / q.host.gpu_cores;
    Figures f{};
    bool needless = false;
    for (const LoadRow& other : rows) {
      const CellShape& o = other.cell.shape;
      const bool less =
          o.memory_bytes <= s.memory_bytes && o.gpu_memory_bytes <= s.gpu_memory_bytes &&
          (o.memory_bytes < s.memory_bytes || o.gpu_memory_bytes < s.gpu_memory_bytes);
      needless = needless ||
                 (other.outcome == CellOutcome::kOk && less &&
                  other.cell.precision == row.cell.precision && o.milli_cores == s.milli_cores &&
                  o.gpu_cores == s.gpu_cores && other.cell.batch == row.cell.batch &&
                  row.batch_us >= (1 - 0.2) * other.batch_us);
    }
    f.latency = ((n - 1) * k / rate + u * t99 + t99) * 1e6;
    f.cost = worth * t / n;
    f.possible = !needless && row.outcome == CellOutcome::kOk && s.gpu() == q.gpu &&
                 row.cell.precision == q.precision;
    f.qualifies =
        f.possible && f.latency <= q.objective_us &&
        k * whole <= std::max(1.0, q.host.milli_cores / 1000.0) &&
        k * static_cast<double>(s.memory_bytes) <= static_cast<double>(q.host.memory_bytes) &&
        k * s.gpu_cores <= q.host.gpu_cores &&
        k * static_cast<double>(s.gpu_memory_bytes) <= static_cast<double>(q.host.gpu_memory_bytes);
    figures.push_back(f);
  }
  double cheapest = INFINITY;
  for (const Figures& f : figures) cheapest = f.qualifies ? std::min(cheapest, f.cost) : cheapest;
  *met = cheapest < INFINITY;
  std::optional<size_t> best;
  for (size_t i = 0; i < rows.size(); ++i) {
    const auto rank = [&](size_t r) {
      const CellShape& s = rows[r].cell.shape;
      return std::tuple(rows[r].cell.batch, s.memory_bytes, s.milli_cores, figures[r].cost);
    };
    if (*met) {
      if (!figures[i].qualifies || figures[i].cost > 1.05 * cheapest) continue;
      if (!best || rank(i) < rank(*best)) best = i;
    } else if (figures[i].possible && (!best || figures[i].latency < figures[*best].latency)) {
      best = i;
    }
  }
  return best;
}

TEST(SelectObjectiveTest, FollowsItsFormulaOnRandomTables) {
  std::mt19937_64 random(3);
  int met_count = 0, unmet = 0;
  for (int i = 0; i < 5000; ++i) {
    const LoadRows rows = RandomTable(random);
    ObjectiveQuery query = Query(std::pow(10, std::uniform_real_distribution<double>(2, 5)(random)),
                                 random() % 3 == 0 ? 0 : std::pow(10, random() % 6));
    query.host = {static_cast<int>(1000 * (1 + random() % 8)), (1 + int64_t(random() % 16)) << 30,
                  64, int64_t{8} << 30};
    query.gpu = random() % 4 == 0;
    bool met = false;
    const auto expected = ByFormula(rows, query, &met);
    const Choice choice = SelectByObjective(rows, query);
    ASSERT_EQ(choice.row, expected) << i;
    if (expected) {
      ASSERT_EQ(choice.met, met) << i;
    }
    (met ? met_count : unmet) += 1;
  }
  EXPECT_GT(met_count, 1000);
  EXPECT_GT(unmet, 500);
}

TEST(SelectObjectiveTest, WhereBatchingPaysATightObjectiveMakesBatchesSmaller) {
  LoadRows rows;
  for (int n = 1; n <= 64; n *= 2) rows.push_back(Row(1000, 512 * kMiB, n, 900 + 20.0 * n));
  int last = 65;
  for (const double objective : {100'000.0, 6'000.0, 4'500.0, 3'500.0}) {
    const Choice choice = SelectByObjective(rows, Query(objective, 0));
    ASSERT_TRUE(choice.row) << objective;
    EXPECT_LE(rows[*choice.row].cell.batch, last);
    last = rows[*choice.row].cell.batch;
  }
  EXPECT_LT(last, 64);
}

TEST(SelectObjectiveTest, AModelThatGainsNothingIsNotBatched) {
  LoadRows rows;
  // Two per cent of gain are noise.
  for (int n = 1; n <= 64; n *= 2)
    rows.push_back(Row(1000, 512 * kMiB, n, n == 1 ? 1020 : 1000.0 * n));
  const Choice choice = SelectByObjective(rows, Query(1e6, 0));
  ASSERT_TRUE(choice.row);
  EXPECT_EQ(rows[*choice.row].cell.batch, 1);
}

TEST(SelectObjectiveTest, ALowRateMakesLargeBatchesMissTheObjective) {
  LoadRows rows;
  for (int n = 1; n <= 64; n *= 2) rows.push_back(Row(1000, 512 * kMiB, n, 900 + 20.0 * n));
  const Choice slow = SelectByObjective(rows, Query(50'000, 5));
  ASSERT_TRUE(slow.row);
  EXPECT_EQ(rows[*slow.row].cell.batch, 1);  // a second item comes after 200 ms
  const Choice fast = SelectByObjective(rows, Query(50'000, 5000));
  ASSERT_TRUE(fast.row);
  EXPECT_GE(rows[*fast.row].cell.batch, 16);
}

TEST(SelectObjectiveTest, ARateBeyondTheHostIsSaidAndTheClosestRowNamed) {
  const LoadRows rows = {Row(1000, 512 * kMiB, 1, 1000)};
  const Choice choice = SelectByObjective(rows, Query(50'000, 1e6));
  EXPECT_FALSE(choice.met);
  EXPECT_EQ(choice.row, 0u);
}

TEST(SelectObjectiveTest, LessMemoryWinsWhereTimesAreEqual) {
  const LoadRows rows = {Row(1000, 1024 * kMiB, 4, 2000), Row(1000, 512 * kMiB, 4, 2000)};
  EXPECT_EQ(SelectByObjective(rows, Query(50'000, 0)).row, 1u);
}

TEST(SelectObjectiveTest, AnEmptyTableChoosesNothing) {
  const Choice choice = SelectByObjective({}, Query(50'000, 0));
  EXPECT_FALSE(choice.row);
  EXPECT_FALSE(choice.met);
}

}  // namespace
}  // namespace evenkeel
