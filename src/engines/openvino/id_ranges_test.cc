#include "engines/openvino/id_ranges.h"

#include <gtest/gtest.h>

#include <openvino/openvino.hpp>
#include <openvino/opsets/opset1.hpp>
#include <openvino/opsets/opset13.hpp>

namespace evenkeel {
namespace {

namespace op = ov::opset13;
using ov::element::f32;
using ov::element::i32;
using ov::element::i64;

std::shared_ptr<op::Parameter> Ids(const ov::PartialShape& shape = {-1, 8}) {
  return std::make_shared<op::Parameter>(i64, shape);
}
std::shared_ptr<op::Constant> Number(int64_t value) {
  return op::Constant::create(i64, {}, {value});
}
std::shared_ptr<op::Constant> Numbers(const std::vector<int64_t>& values) {
  return op::Constant::create(i64, {values.size()}, values);
}
ov::Output<ov::Node> Table(size_t rows) {
  return op::Constant::create(f32, {rows, 2}, std::vector<float>(rows * 2));
}
ov::Output<ov::Node> Lookup(size_t rows, const ov::Output<ov::Node>& ids) {
  return std::make_shared<op::Gather>(Table(rows), ids, Number(0));
}
std::optional<IdRange> RangeOf(const ov::OutputVector& outputs,
                               const std::shared_ptr<op::Parameter>& ids) {
  ov::ResultVector results;
  for (const auto& output : outputs) results.push_back(std::make_shared<op::Result>(output));
  return FindIdRanges(ov::Model(results, {ids})).at(0);
}
#define EXPECT_RANGE(range, low, high) \
  do {                                 \
    const auto r = (range);            \
    ASSERT_TRUE(r);                    \
    EXPECT_EQ(r->lo, low);             \
    EXPECT_EQ(r->hi, high);            \
  } while (false)

TEST(IdRangesTest, GatherGivesItsTablesRowsAndCountsFromTheEnd) {
  const auto ids = Ids();
  EXPECT_RANGE(RangeOf({Lookup(100, ids)}, ids), -100, 99);
}

TEST(IdRangesTest, OlderGatherTakesNoNegativeIds) {
  const auto ids = Ids();
  EXPECT_RANGE(RangeOf({std::make_shared<ov::opset1::Gather>(Table(100), ids, Number(0))}, ids), 0,
               99);
}

TEST(IdRangesTest, WalksThroughOperatorsThatMoveIds) {
  const auto ids = Ids({-1, 8});
  ov::Output<ov::Node> moved = std::make_shared<op::Convert>(ids, i32);
  moved = std::make_shared<op::Reshape>(moved, Numbers({-1, 4, 2}), false);
  moved = std::make_shared<op::Unsqueeze>(moved, Number(0));
  moved = std::make_shared<op::Squeeze>(moved, Number(0));
  moved = std::make_shared<op::Transpose>(moved, Numbers({0, 2, 1}));
  EXPECT_RANGE(RangeOf({Lookup(7, moved)}, ids), -7, 6);
}

TEST(IdRangesTest, TableBehindADecompressionCounts) {
  const auto ids = Ids();
  const auto half = op::Constant::create(ov::element::f16, {50, 2}, std::vector<float>(100));
  const auto table = std::make_shared<op::Convert>(half, f32);
  EXPECT_RANGE(RangeOf({std::make_shared<op::Gather>(table, ids, Number(0))}, ids), -50, 49);
}

TEST(IdRangesTest, WholeIdsMustFitTheSmallestTable) {
  const auto ids = Ids();
  EXPECT_RANGE(RangeOf({Lookup(100, ids), Lookup(30, ids)}, ids), -30, 29);
}

TEST(IdRangesTest, SplitIdsMayFitTheLargestTable) {
  const auto ids = Ids({-1, 2});
  const auto split = std::make_shared<op::Split>(ids, Number(1), 2);
  EXPECT_RANGE(RangeOf({Lookup(100, split->output(0)), Lookup(30, split->output(1))}, ids), -100,
               99);
  const auto first = std::make_shared<op::Gather>(ids, Number(0), Number(1));
  const auto second =
      std::make_shared<op::Slice>(ids, Numbers({1}), Numbers({2}), Numbers({1}), Numbers({1}));
  EXPECT_RANGE(RangeOf({Lookup(10, first), Lookup(20, second)}, ids), -20, 19);
  // The same ids as a whole in a third table: that one binds them all.
  EXPECT_RANGE(RangeOf({Lookup(10, first), Lookup(20, second), Lookup(15, ids)}, ids), -15, 14);
}

// Three tables of 10 rows each, one behind the other.
TEST(IdRangesTest, AddedConstantsShiftTheRange) {
  const auto ids = Ids({-1, 3});
  const auto offsets = op::Constant::create(i64, {1, 3}, {0, 10, 20});
  EXPECT_RANGE(RangeOf({Lookup(30, std::make_shared<op::Add>(ids, offsets))}, ids), -50, 29);
  EXPECT_RANGE(RangeOf({Lookup(30, std::make_shared<op::Add>(Number(1), ids))}, ids), -31, 28);
  EXPECT_RANGE(RangeOf({Lookup(30, std::make_shared<op::Subtract>(ids, Number(1)))}, ids), -29, 30);
  // What is added does not say more than the table where the ids also go as they are.
  EXPECT_RANGE(RangeOf({Lookup(30, std::make_shared<op::Add>(ids, offsets)), Lookup(7, ids)}, ids),
               -7, 6);
  // From a constant minus ids, or with something that is no constant, nothing follows.
  EXPECT_RANGE(RangeOf({Lookup(30, std::make_shared<op::Subtract>(Number(1), ids))}, ids),
               INT32_MIN, INT32_MAX);
}

TEST(IdRangesTest, GatherElementsAndEmbeddingBags) {
  const auto ids = Ids({-1, 2});
  EXPECT_RANGE(RangeOf({std::make_shared<op::GatherElements>(Table(9), ids, 0)}, ids), -9, 8);
  EXPECT_RANGE(RangeOf({std::make_shared<op::EmbeddingBagPackedSum>(Table(40), ids)}, ids), 0, 39);
  const auto flat = Ids({-1});
  EXPECT_RANGE(
      RangeOf({std::make_shared<op::EmbeddingBagOffsetsSum>(Table(41), flat, Numbers({0}))}, flat),
      0, 40);
}

TEST(IdRangesTest, NoTableNoRange) {
  const auto ids = Ids();
  EXPECT_FALSE(RangeOf({std::make_shared<op::Convert>(ids, f32)}, ids));
  // Changed on the way: what the client sends is not what the table sees. But 32 bits are all that the engine computes with.
  EXPECT_RANGE(RangeOf({Lookup(10, std::make_shared<op::Clamp>(ids, 0, 9))}, ids), INT32_MIN,
               INT32_MAX);
  // The ids are the data of the gather, not its index.
  EXPECT_RANGE(RangeOf({std::make_shared<op::Gather>(ids, Numbers({0, 1}), Number(1))}, ids),
               INT32_MIN, INT32_MAX);
  const auto narrow = std::make_shared<op::Parameter>(i32, ov::PartialShape{-1});
  EXPECT_FALSE(RangeOf({std::make_shared<op::Add>(narrow, narrow)}, narrow));
  const auto wide = std::make_shared<op::Parameter>(ov::element::u32, ov::PartialShape{-1});
  EXPECT_RANGE(RangeOf({std::make_shared<op::Add>(wide, wide)}, wide), 0, INT32_MAX);
  // A table whose rows the model does not fix.
  const auto table = std::make_shared<op::Parameter>(f32, ov::PartialShape{-1, 2});
  const auto result =
      std::make_shared<op::Result>(std::make_shared<op::Gather>(table, ids, Number(0)));
  const auto ranges =
      FindIdRanges(ov::Model(ov::ResultVector{result}, ov::ParameterVector{ids, table}));
  EXPECT_RANGE(ranges[0], INT32_MIN, INT32_MAX);
  EXPECT_FALSE(ranges[1]);
}

}  // namespace
}  // namespace evenkeel
