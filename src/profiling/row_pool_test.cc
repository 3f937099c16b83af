#include "profiling/row_pool.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <cstring>

#include "core/half.h"
#include "profiling/machine.h"
#include "profiling/output_difference.h"
#include "profiling/sampler.h"

namespace evenkeel {
namespace {

TensorSpec Spec(const char* name, DataType type, Shape shape) {
  return {name, type, shape, {}, {}};
}

Signature Batched(std::vector<TensorSpec> inputs) {
  Signature signature;
  signature.inputs = std::move(inputs);
  signature.batched = true;
  signature.max_batch = 64;
  return signature;
}

template <typename T>
std::vector<T> Values(const TensorView& view) {
  std::vector<T> values(view.data.size() / sizeof(T));
  std::memcpy(values.data(), view.data.data(), view.data.size());
  return values;
}

TEST(RowPoolTest, MadeUpRowsFollowTypesShapesAndRanges) {
  Signature signature = Batched({Spec("ids", DataType::kInt64, Shape{kDynamic, 8}),
                                 Spec("x", DataType::kFp32, Shape{kDynamic, kDynamic, 3}),
                                 Spec("h", DataType::kFp16, Shape{kDynamic, 5}),
                                 Spec("s", DataType::kBytes, Shape{kDynamic, 2})});
  signature.inputs[0].range = IdRange{10, 20};
  const auto pool = RowPool::FromSignature(signature, 100, 1);
  ASSERT_TRUE(pool.ok());
  EXPECT_EQ(pool->size(), 100u);
  std::vector<std::byte> arena(pool->BytesOf(16));
  const auto views = pool->Fill(95, 16, arena);  // around the end
  ASSERT_TRUE(views.ok()) << views.status().ToString();
  ASSERT_EQ(views->size(), 4u);
  EXPECT_EQ((*views)[0].shape, (Shape{16, 8}));
  EXPECT_EQ((*views)[1].shape, (Shape{16, 1, 3}));
  for (const TensorView& view : *views)
    EXPECT_EQ((reinterpret_cast<uintptr_t>(view.data.data()) -
               reinterpret_cast<uintptr_t>(arena.data())) %
                  64,
              0u);
  for (const int64_t id : Values<int64_t>((*views)[0])) {
    EXPECT_GE(id, 10);
    EXPECT_LE(id, 20);
  }
  for (const float x : Values<float>((*views)[1])) {
    EXPECT_GE(x, 0);
    EXPECT_LT(x, 1);
  }
  for (const uint16_t h : Values<uint16_t>((*views)[2])) {
    EXPECT_GE(FloatFromFp16(h), 0);
    EXPECT_LT(FloatFromFp16(h), 1);
  }
  EXPECT_TRUE(BytesElementsSize((*views)[3].data, 32).ok());
}

TEST(RowPoolTest, HugeRowsAreRefusedAndSmallArenasToo) {
  const Signature huge = Batched({Spec("x", DataType::kFp64, Shape{kDynamic, int64_t{1} << 40})});
  EXPECT_EQ(RowPool::FromSignature(huge, 10, 1).status().code(), Code::kTooLarge);
  const Signature absurd = Batched({Spec("x", DataType::kFp64, Shape{kDynamic, INT64_MAX, 4})});
  EXPECT_EQ(RowPool::FromSignature(absurd, 10, 1).status().code(), Code::kTooLarge);
  const auto pool =
      RowPool::FromSignature(Batched({Spec("x", DataType::kFp32, Shape{kDynamic, 4})}), 10, 1);
  std::vector<std::byte> arena(31);
  EXPECT_EQ(pool->Fill(0, 2, arena).status().code(), Code::kTooLarge);
}

TEST(RowPoolTest, SampledRowsAreUsedInTheModelsOrderOfInputs) {
  SampleSet set;
  set.batched = true;
  set.inputs = {Spec("b", DataType::kInt32, Shape{1}), Spec("a", DataType::kInt32, Shape{2})};
  for (int32_t r = 0; r < 3; ++r) {
    auto row = std::make_shared<SampleRow>();
    const int32_t b = 100 + r, a[2] = {r, r};
    row->inputs.resize(2);
    row->inputs[0].assign(reinterpret_cast<const std::byte*>(&b),
                          reinterpret_cast<const std::byte*>(&b + 1));
    row->inputs[1].assign(reinterpret_cast<const std::byte*>(a),
                          reinterpret_cast<const std::byte*>(a + 2));
    set.rows.push_back(row);
  }
  const Signature signature = Batched({Spec("a", DataType::kInt32, Shape{kDynamic, kDynamic}),
                                       Spec("b", DataType::kInt32, Shape{kDynamic, 1})});
  const auto pool = RowPool::FromSamples(signature, set);
  ASSERT_TRUE(pool.ok()) << pool.status().ToString();
  std::vector<std::byte> arena(1024);
  const auto views = pool->Fill(2, 2, arena);
  ASSERT_TRUE(views.ok());
  EXPECT_THAT(Values<int32_t>((*views)[0]), testing::ElementsAre(2, 2, 0, 0));
  EXPECT_THAT(Values<int32_t>((*views)[1]), testing::ElementsAre(102, 100));

  Signature other = signature;
  other.inputs[1].dtype = DataType::kInt64;
  EXPECT_FALSE(RowPool::FromSamples(other, set).ok());
  other = signature;
  other.inputs[0].shape = Shape{kDynamic, 3};
  EXPECT_FALSE(RowPool::FromSamples(other, set).ok());
  other = signature;
  other.batched = false;
  EXPECT_FALSE(RowPool::FromSamples(other, set).ok());
  set.rows.clear();
  EXPECT_FALSE(RowPool::FromSamples(signature, set).ok());
}

TEST(OutputDifferenceTest, LargestAndMeanOverAllElements) {
  const OutputDifference d = Compare({{1, 2}, {3, 4}}, {{1, 2.5}, {3, 3}});
  EXPECT_DOUBLE_EQ(d.largest, 1);
  EXPECT_DOUBLE_EQ(d.mean, 1.5 / 4);
  EXPECT_EQ(Compare({{1}}, {{1, 2}}).largest, HUGE_VAL);
  EXPECT_EQ(Compare({{NAN}}, {{1}}).largest, HUGE_VAL);
  EXPECT_EQ(Compare({{NAN, HUGE_VAL}}, {{NAN, HUGE_VAL}}).largest, 0);
  EXPECT_LT(Compare({{}, {}}, {{}, {}}).largest, 0);  // nothing was compared
}

TEST(OutputDifferenceTest, NumbersOfEveryTypeCountAndTextsDoNot) {
  const float f[2] = {1.5f, -2};
  const int32_t i[1] = {-7};
  const uint16_t h[1] = {0x3c00};
  const uint64_t u[1] = {1ull << 40};
  const bool b[2] = {true, false};
  const char text[8] = {};
  const std::vector<TensorView> outputs = {
      {0, DataType::kFp32, Shape{2}, std::as_bytes(std::span(f))},
      {1, DataType::kInt32, Shape{1}, std::as_bytes(std::span(i))},
      {2, DataType::kFp16, Shape{1}, std::as_bytes(std::span(h))},
      {3, DataType::kUint64, Shape{1}, std::as_bytes(std::span(u))},
      {4, DataType::kBytes, Shape{1}, std::as_bytes(std::span(text))},
      {5, DataType::kBool, Shape{2}, std::as_bytes(std::span(b))}};
  EXPECT_THAT(Elements(outputs), testing::ElementsAre(1.5, -2, -7, 1, 0x1p40, 1, 0));
}

TEST(MachineTest, FingerprintTellsWhatTimesDependOn) {
  const char* info =
      "processor\t: 0\nmodel name\t: Some CPU\nflags\t\t: fpu avx2 avx512f amx_bf16\n";
  const Machine machine = DescribeMachine(info, {2000, (int64_t{24} << 30) - 5, 0, 0});
  EXPECT_THAT(machine.fingerprint,
              testing::StartsWith("Some CPU, 2 cores, 24 GiB, avx2 avx512f amx_bf16 ("));
  EXPECT_TRUE(machine.bf16);
  EXPECT_NE(DescribeMachine(info, {1000, int64_t{24} << 30, 0, 0}).fingerprint,
            machine.fingerprint);
  EXPECT_FALSE(DescribeMachine("flags : avx2\n", {}).bf16);
  EXPECT_FALSE(DescribeMachine("", {}).fingerprint.empty());
}

TEST(RowPoolTest, ABlankBatchWritesOnlyWhatWasUsed) {
  Signature signature;
  signature.batched = true;
  signature.max_batch = 8;
  signature.inputs = {{"a", DataType::kFp32, Shape{kDynamic, 3}, {}, {}},
                      {"b", DataType::kInt64, Shape{kDynamic, 1}, IdRange{0, 9}, {}}};
  const auto pool = RowPool::FromSignature(signature, 4, 1);
  ASSERT_TRUE(pool.ok());
  std::vector<std::byte> arena(1024, std::byte{7});
  const auto blank = pool->Blank(4, arena, 20);
  ASSERT_TRUE(blank);
  const auto filled = pool->Fill(0, 4, arena);
  ASSERT_TRUE(filled.ok());
  ASSERT_EQ(blank->size(), 2u);
  for (size_t i = 0; i < 2; ++i) {
    EXPECT_EQ((*blank)[i].shape, (*filled)[i].shape);
    EXPECT_EQ((*blank)[i].data.data(), (*filled)[i].data.data());
    EXPECT_EQ((*blank)[i].data.size(), (*filled)[i].data.size());
  }
  std::fill(arena.begin(), arena.end(), std::byte{7});
  ASSERT_TRUE(pool->Blank(4, arena, 20));
  EXPECT_EQ(std::count(arena.begin(), arena.end(), std::byte{0}), 20);
  EXPECT_FALSE(pool->Blank(64, arena, 0));  // too small
  signature.inputs[1].range = IdRange{1, 9};
  EXPECT_FALSE(RowPool::FromSignature(signature, 4, 1)->Blank(4, arena, 0));
}

}  // namespace
}  // namespace evenkeel
