#include "containers/shape.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <rapidcheck/gtest.h>

#include <set>

namespace evenkeel {
namespace {

constexpr int64_t kMiB = int64_t{1} << 20;

TEST(WorkerShapeTest, ReadsCoresMemoryAndGpu) {
  const auto shape = ParseWorkerShape("0.5c/256MiB");
  ASSERT_TRUE(shape.ok()) << shape.status().ToString();
  EXPECT_EQ(shape->milli_cores, 500);
  EXPECT_EQ(shape->memory_bytes, 256 * kMiB);
  EXPECT_FALSE(shape->gpu);
  const auto with_gpu = ParseWorkerShape("1c/512MiB+gpu3:16c/2GiB");
  ASSERT_TRUE(with_gpu.ok()) << with_gpu.status().ToString();
  EXPECT_EQ(with_gpu->gpu, (GpuShape{3, 16, 2048 * kMiB}));
  EXPECT_EQ(FormatWorkerShape(*with_gpu), "1c/512MiB+gpu3:16c/2GiB");
}

TEST(WorkerShapeTest, RefusesWhatIsNoShape) {
  for (const char* text : {"",
                           "2",
                           "2c",
                           "c/512MiB",
                           ".5c/512MiB",
                           "2.c/512MiB",
                           "-1c/512MiB",
                           "2c/512",
                           "0.05c/512MiB",
                           "5000c/1GiB",
                           "1c/1MiB",
                           "1c/512MiB+",
                           "1c/512MiB+gpu:1c/1GiB",
                           "1c/512MiB+gpu0:0.5c/1GiB",
                           "1.0001c/1GiB",
                           "1c/512MiB+gpu0:0c/1GiB",
                           "1c/512MiB+gpu64:1c/1GiB",
                           "1 c/512MiB",
                           "99999999999999999999c/1GiB",
                           "1c/99999999999GiB"}) {
    const auto shape = ParseWorkerShape(text);
    ASSERT_FALSE(shape.ok()) << text;
    EXPECT_EQ(shape.status().code(), Code::kInvalidArgument) << text;
    EXPECT_THAT(shape.status().message(), testing::StartsWith("shape '")) << text;
  }
}

RC_GTEST_PROP(WorkerShapeTest, ParseUndoesFormat, ()) {
  WorkerShape shape;
  shape.milli_cores = *rc::gen::inRange(kMinMilliCores, kMaxMilliCores + 1);
  shape.memory_bytes = *rc::gen::inRange<int64_t>(kMinShapeMemory, int64_t{1} << 40);
  if (*rc::gen::arbitrary<bool>()) {
    shape.gpu = GpuShape{*rc::gen::inRange(0, 64), *rc::gen::inRange(1, 65'537),
                         *rc::gen::inRange<int64_t>(kMinShapeMemory, int64_t{1} << 40)};
  }
  const auto again = ParseWorkerShape(FormatWorkerShape(shape));
  RC_ASSERT(again.ok());
  RC_ASSERT(*again == shape);
}

TEST(WorkerShapeTest, ThreadsAreTheCoresRoundedUp) {
  EXPECT_EQ((WorkerShape{100, kMiB, {}}).threads(), 1);
  EXPECT_EQ((WorkerShape{1000, kMiB, {}}).threads(), 1);
  EXPECT_EQ((WorkerShape{1500, kMiB, {}}).threads(), 2);
  EXPECT_EQ((WorkerShape{4000, kMiB, {}}).threads(), 4);
}

std::set<std::string> Texts(const std::vector<WorkerShape>& shapes) {
  std::set<std::string> texts;
  for (const auto& shape : shapes) texts.insert(FormatWorkerShape(shape));
  return texts;
}

TEST(ShapesOfTest, DoublesFromHalfACoreAndAddsTheHostsOwnNumber) {
  EXPECT_EQ(Texts(ShapesOf({2000, 1024 * kMiB})),
            (std::set<std::string>{"0.5c/256MiB", "0.5c/512MiB", "0.5c/1GiB", "1c/256MiB",
                                   "1c/512MiB", "1c/1GiB", "2c/256MiB", "2c/512MiB", "2c/1GiB"}));
  EXPECT_EQ(
      Texts(ShapesOf({6000, 256 * kMiB})),
      (std::set<std::string>{"0.5c/256MiB", "1c/256MiB", "2c/256MiB", "4c/256MiB", "6c/256MiB"}));
  EXPECT_TRUE(ShapesOf({400, 256 * kMiB}).empty());
  EXPECT_TRUE(ShapesOf({2000, 255 * kMiB}).empty());
}

RC_GTEST_PROP(ShapesOfTest, AllFitTheHostAndNoneIsThereTwice, ()) {
  const HostCapacity host{*rc::gen::inRange(0, 300'000),
                          *rc::gen::inRange<int64_t>(0, int64_t{1} << 42)};
  const auto shapes = ShapesOf(host);
  for (const auto& shape : shapes) RC_ASSERT(CheckFits(shape, host).ok());
  RC_ASSERT(Texts(shapes).size() == shapes.size());
}

TEST(CheckFitsTest, SaysWhatTheHostHas) {
  const HostCapacity host{2000, 1024 * kMiB};
  EXPECT_TRUE(CheckFits({2000, 1024 * kMiB, {}}, host).ok());
  EXPECT_EQ(CheckFits({4000, kMiB, {}}, host).message(),
            "shape 4c/1MiB: this host has 2 cores for workers");
  EXPECT_EQ(CheckFits({1000, 2048 * kMiB, {}}, host).message(),
            "shape 1c/2GiB: this host has 1GiB of memory for workers");
}

TEST(GpuShapesOfTest, DividesCoresAndMemoryOfTheDevice) {
  const HostCapacity host{2000, 4096 * kMiB};
  const auto shapes = GpuShapesOf({1, 32, 3072 * kMiB}, host);
  EXPECT_EQ(Texts(shapes),
            (std::set<std::string>{
                "1c/1GiB+gpu1:8c/1GiB", "1c/1GiB+gpu1:8c/2GiB", "1c/1GiB+gpu1:8c/3GiB",
                "1c/1GiB+gpu1:16c/1GiB", "1c/1GiB+gpu1:16c/2GiB", "1c/1GiB+gpu1:16c/3GiB",
                "1c/1GiB+gpu1:32c/1GiB", "1c/1GiB+gpu1:32c/2GiB", "1c/1GiB+gpu1:32c/3GiB"}));
  EXPECT_TRUE(GpuShapesOf({0, 32, 3072 * kMiB}, {500, 4096 * kMiB}).empty());
  EXPECT_EQ(GpuShapesOf({0, 2, 1024 * kMiB}, host).size(), 2u) << "no shape without a core";
}

}  // namespace
}  // namespace evenkeel
