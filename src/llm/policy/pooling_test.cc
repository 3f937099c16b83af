#include "llm/policy/pooling.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>

namespace evenkeel::policy {
namespace {

TEST(PoolingTest, TheManifestGoesBeforeTheFileAndTheFileBeforeTheKind) {
  for (const bool encoder : {false, true}) {
    const auto by_kind = ChoosePooling({{}, {}, encoder, false});
    EXPECT_EQ(by_kind->pooling, encoder ? Pooling::kMean : kDecoderPooling);
    EXPECT_EQ(by_kind->generates, !encoder);
    const auto by_file = ChoosePooling({{}, Pooling::kCls, encoder, false});
    EXPECT_EQ(by_file->pooling, Pooling::kCls);
    EXPECT_FALSE(by_file->generates);
    const auto asked = ChoosePooling({Pooling::kLast, Pooling::kCls, encoder, false});
    EXPECT_EQ(asked->pooling, Pooling::kLast);
    EXPECT_EQ(ChoosePooling({Pooling::kNone, Pooling::kCls, encoder, false})->pooling,
              Pooling::kNone);
  }
  // What the operator asks of a model that generates does not end that.
  EXPECT_TRUE(ChoosePooling({Pooling::kLast, {}, false, false})->generates);
  EXPECT_TRUE(ChoosePooling({{}, Pooling::kNone, false, false})->generates);
}

TEST(PoolingTest, RankNeedsAHead) {
  EXPECT_EQ(ChoosePooling({Pooling::kRank, {}, true, false}).status().code(),
            Code::kInvalidArgument);
  EXPECT_EQ(ChoosePooling({{}, Pooling::kRank, true, false}).status().code(),
            Code::kInvalidArgument);
  EXPECT_EQ(ChoosePooling({{}, Pooling::kRank, true, true})->pooling, Pooling::kRank);
}

std::vector<float> UnitOf(Pooling pooling, const std::vector<std::vector<float>>& rows) {
  Pooled pooled(pooling);
  for (const auto& row : rows) pooled.Add(row);
  const auto unit = pooled.Unit();
  EXPECT_TRUE(unit.ok());
  return unit.ok() ? unit.value() : std::vector<float>();
}

TEST(PoolingTest, EachKindTakesItsRowsAndTheLengthIsOne) {
  const std::vector<std::vector<float>> rows = {{3, 0}, {0, 9}, {-3, 3}};
  EXPECT_EQ(UnitOf(Pooling::kCls, rows), (std::vector<float>{1, 0}));
  EXPECT_EQ(UnitOf(Pooling::kMean, rows), (std::vector<float>{0, 1}));
  const float side = static_cast<float>(std::sqrt(0.5));
  EXPECT_EQ(UnitOf(Pooling::kLast, rows), (std::vector<float>{-side, side}));
}

TEST(PoolingTest, WhatHasNoLengthIsAnError) {
  EXPECT_FALSE(Pooled(Pooling::kMean).Unit().ok());
  Pooled zero(Pooling::kLast);
  zero.Add(std::vector<float>{0, 0});
  EXPECT_EQ(zero.Unit().status().code(), Code::kInternal);
  Pooled broken(Pooling::kMean);
  broken.Add(std::vector<float>{1, std::numeric_limits<float>::quiet_NaN()});
  EXPECT_EQ(broken.Unit().status().code(), Code::kInternal);
}

}  // namespace
}  // namespace evenkeel::policy
