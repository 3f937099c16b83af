#include "cluster/policy/stages.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <limits>
#include <optional>
#include <random>
#include <string>

namespace evenkeel {
namespace {

constexpr double kInfinite = std::numeric_limits<double>::infinity();

// Fewest stages, then the least period, over all orders of all subsets and all cuts.
struct Best {
  int stages = 0;
  double period_s = kInfinite;
};

void TryCuts(const LayeredModel& model, const std::vector<StagePlace>& places, double hop_s,
             const std::vector<int>& order, size_t at, int left, double period_s, Best* best) {
  const bool first = at == 0, last = at + 1 == order.size();
  const StagePlace& place = places[static_cast<size_t>(order[at])];
  for (int layers = last ? left : 1; layers <= left; ++layers) {
    const int64_t bytes = layers * model.layer_bytes + (first ? model.first_bytes : 0) +
                          (last ? model.last_bytes : 0);
    if (bytes > place.room || layers < 1) continue;
    // The policy reckons a send for the last stage too where it fills places up; the period that it states has none.
    const double here = place.present_s + layers * place.layer_s + hop_s;
    if (!(here < kInfinite)) continue;
    const double so_far = std::max(period_s, here);
    if (last)
      best->period_s = std::min(best->period_s, so_far);
    else
      TryCuts(model, places, hop_s, order, at + 1, left - layers, so_far, best);
  }
}

Best BruteForce(const LayeredModel& model, const std::vector<StagePlace>& places, double hop_s) {
  std::vector<int> all(places.size());
  for (size_t i = 0; i < all.size(); ++i) all[i] = static_cast<int>(i);
  for (int stages = 2; stages <= static_cast<int>(places.size()); ++stages) {
    Best best;
    best.stages = stages;
    std::vector<int> order = all;
    do {
      const std::vector<int> chosen(order.begin(), order.begin() + stages);
      TryCuts(model, places, hop_s, chosen, 0, model.layers, 0, &best);
    } while (std::ranges::next_permutation(order).found);
    if (best.period_s < kInfinite) return best;
  }
  return {};
}

TEST(StagesTest, IsWhatLookingAtEverythingFinds) {
  std::mt19937_64 random(5);
  const auto below = [&](int most) {
    return static_cast<int>(random() % static_cast<uint64_t>(most));
  };
  int cut = 0, refused = 0;
  for (int trial = 0; trial < 400; ++trial) {
    LayeredModel model;
    model.layers = 2 + below(8);
    model.layer_bytes = 10;
    model.first_bytes = below(3) * 5;
    model.last_bytes = below(3) * 8;
    std::vector<StagePlace> places(static_cast<size_t>(1 + below(5)));
    for (StagePlace& place : places) {
      place.room = below(8) * 7;
      place.layer_s = below(6) == 0 ? kInfinite : 0.01 * (1 + below(9));
      place.present_s = 0.01 * below(4);
    }
    const double hop_s = 0.001 * below(5);
    const Best best = BruteForce(model, places, hop_s);
    const auto plan = CutIntoStages(model, places, hop_s);
    ASSERT_EQ(plan.ok(), best.stages > 0) << trial;
    if (!plan.ok()) {
      EXPECT_EQ(plan.status().code(), Code::kUnavailable);
      ++refused;
      continue;
    }
    ++cut;
    EXPECT_EQ(static_cast<int>(plan->stages.size()), best.stages) << trial;
    EXPECT_LE(plan->period_s, best.period_s + 1e-9) << trial;
    EXPECT_GE(plan->period_s, best.period_s - hop_s - 1e-9) << trial;
    // It is what it says it is.
    int next = 0;
    double period_s = 0, latency_s = 0;
    std::vector<bool> used(places.size(), false);
    for (const Stage& stage : plan->stages) {
      const bool first = next == 0, last = next + stage.layers == model.layers;
      const StagePlace& place = places[static_cast<size_t>(stage.place)];
      EXPECT_EQ(stage.first, next);
      EXPECT_GE(stage.layers, 1);
      EXPECT_FALSE(used[static_cast<size_t>(stage.place)]);
      used[static_cast<size_t>(stage.place)] = true;
      EXPECT_EQ(stage.bytes, stage.layers * 10 + (first ? model.first_bytes : 0) +
                                 (last ? model.last_bytes : 0));
      EXPECT_LE(stage.bytes, place.room);
      EXPECT_NEAR(stage.seconds, stage.layers * place.layer_s, 1e-12);
      period_s = std::max(period_s, place.present_s + stage.seconds + (last ? 0 : hop_s));
      latency_s += stage.seconds + (last ? 0 : hop_s);
      next += stage.layers;
    }
    EXPECT_EQ(next, model.layers);
    EXPECT_NEAR(plan->period_s, period_s, 1e-12);
    EXPECT_NEAR(plan->latency_s, latency_s, 1e-12);
  }
  EXPECT_GT(cut, 100);
  EXPECT_GT(refused, 50);
}

TEST(StagesTest, FewestStagesThoughMoreWouldBeFaster) {
  LayeredModel model;
  model.layers = 12;
  model.layer_bytes = 10;
  const std::vector<StagePlace> places(4, StagePlace{60, 0.1, 0});
  const auto plan = CutIntoStages(model, places, 0.001);
  ASSERT_TRUE(plan.ok());
  EXPECT_EQ(plan->stages.size(), 2);
  EXPECT_NEAR(plan->period_s, 0.601, 1e-9);
}

TEST(StagesTest, AFasterPlaceGetsMoreLayers) {
  LayeredModel model;
  model.layers = 30;
  model.layer_bytes = 1;
  const auto plan = CutIntoStages(model, {{25, 0.1, 0}, {25, 0.2, 0}}, 0);
  ASSERT_TRUE(plan.ok());
  EXPECT_NEAR(plan->period_s, 2, 1e-6);
  for (const Stage& stage : plan->stages) EXPECT_EQ(stage.layers, stage.place == 0 ? 20 : 10);
}

TEST(StagesTest, LayersThatTakeNextToNoTimeAreCutLikeOthers) {
  LayeredModel model;
  model.layers = 4;
  model.layer_bytes = 10;
  const auto plan = CutIntoStages(model, {{25, 1e-30, 0}, {25, 10, 0}}, 0.001);
  ASSERT_TRUE(plan.ok()) << plan.status().ToString();
  ASSERT_EQ(plan->stages.size(), 2);
  for (const Stage& stage : plan->stages) EXPECT_EQ(stage.layers, 2);
  EXPECT_NEAR(plan->period_s, 20, 0.01);
}

TEST(StagesTest, SaysWhatIsShort) {
  LayeredModel model;
  model.layers = 4;
  model.layer_bytes = int64_t{3} << 30;
  const auto lacks = CutIntoStages(model, {{int64_t{4} << 30, 1, 0}, {int64_t{4} << 30, 1, 0}}, 0);
  EXPECT_NE(lacks.status().message().find("12.0 GiB"), std::string::npos)
      << lacks.status().message();
  EXPECT_NE(lacks.status().message().find("8.0 GiB"), std::string::npos)
      << lacks.status().message();
  const auto layer = CutIntoStages(model, {{int64_t{1} << 30, 1, 0}, {int64_t{2} << 30, 1, 0}}, 0);
  EXPECT_NE(layer.status().message().find("one of its 4 layers takes 3.0 GiB"), std::string::npos)
      << layer.status().message();
}

TEST(StagesTest, WhatIsShortIsSaidOfHoweverLargeSizes) {
  constexpr int64_t kMost = std::numeric_limits<int64_t>::max();
  LayeredModel model;
  model.layers = 10;
  model.layer_bytes = kMost / 4;
  const std::vector<StagePlace> places(3, StagePlace{kMost / 2, 1, 0});
  const auto plan = CutIntoStages(model, places, 0);
  ASSERT_FALSE(plan.ok());
  EXPECT_EQ(plan.status().code(), Code::kUnavailable);
  EXPECT_NE(plan.status().message().find(
                "takes 20971520.0 TiB, and all nodes together have 12582912.0 TiB"),
            std::string::npos)
      << plan.status().message();
}

}  // namespace
}  // namespace evenkeel
