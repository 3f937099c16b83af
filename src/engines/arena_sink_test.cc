#include "engines/arena_sink.h"

#include <gtest/gtest.h>

namespace evenkeel {
namespace {

class ArenaSinkTest : public testing::Test {
 protected:
  alignas(64) std::byte arena_[256];
};

TEST_F(ArenaSinkTest, PlacesOutputsApartAndAligned) {
  ArenaSink sink(arena_, 2);
  EXPECT_EQ(sink.Allocate(1, DataType::kUint8, Shape{5}, 5), arena_);
  EXPECT_EQ(sink.Allocate(0, DataType::kFp32, Shape{2}, 8), arena_ + 64);
  std::vector<TensorView> views;
  ASSERT_TRUE(sink.Collect(&views).ok());
  EXPECT_EQ(views[0].data.data(), arena_ + 64);
  EXPECT_EQ(views[1].spec, 1u);
  EXPECT_EQ(views[1].data.size(), 5u);
}

TEST_F(ArenaSinkTest, ReplacingTheLastOutputGivesItsRoomBack) {
  ArenaSink sink(arena_, 1);
  for (int i = 0; i < 10; ++i)
    EXPECT_EQ(sink.Allocate(0, DataType::kUint8, Shape{256}, 256), arena_);
  EXPECT_FALSE(sink.overflowed());
}

TEST_F(ArenaSinkTest, RefusesWhatDoesNotFit) {
  ArenaSink sink(arena_, 2);
  EXPECT_NE(sink.Allocate(0, DataType::kUint8, Shape{193}, 193), nullptr);
  EXPECT_EQ(sink.Allocate(1, DataType::kUint8, Shape{1}, 1), nullptr);
  EXPECT_TRUE(sink.overflowed());
  EXPECT_EQ(sink.Allocate(1, DataType::kUint8, Shape{1}, SIZE_MAX), nullptr);
}

TEST_F(ArenaSinkTest, MissingOutputIsAnError) {
  ArenaSink sink(arena_, 2);
  ASSERT_NE(sink.Allocate(0, DataType::kUint8, Shape{1}, 1), nullptr);
  std::vector<TensorView> views;
  EXPECT_EQ(sink.Collect(&views).code(), Code::kInternal);
}

}  // namespace
}  // namespace evenkeel
