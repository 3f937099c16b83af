#include "ipc/frame.h"

#include <gtest/gtest.h>

#include <cstring>
#include <random>

namespace evenkeel::ipc {
namespace {

TEST(LayoutTest, PartsArePageAlignedAndDoNotOverlap) {
  for (const Layout layout :
       {Layout{0, 0}, Layout{1, 1}, Layout{4096, 4097}, Layout{1 << 20, 123}}) {
    size_t end = sizeof(Control);
    for (uint32_t slot = 0; slot < kSlots; ++slot) {
      EXPECT_EQ(layout.header_offset(slot) % 4096, 0u);
      EXPECT_GE(layout.header_offset(slot), end);
      EXPECT_EQ(layout.input_offset(slot) % 4096, 0u);
      EXPECT_GE(layout.input_offset(slot), layout.header_offset(slot) + sizeof(SlotHeader));
      EXPECT_EQ(layout.output_offset(slot) % 4096, 0u);
      EXPECT_GE(layout.output_offset(slot), layout.input_offset(slot) + layout.input_capacity);
      end = layout.output_offset(slot) + layout.output_capacity;
    }
    EXPECT_GE(layout.total(), end);
  }
}

// Property: what is written is read back, for random shapes of every dtype.
TEST(FrameTest, DescriptorsRoundTrip) {
  std::mt19937 random(1);
  alignas(64) static std::byte arena[64 << 10];
  for (int round = 0; round < 2000; ++round) {
    TensorView view;
    view.spec = static_cast<uint32_t>(random() % kMaxTensors);
    view.dtype = static_cast<DataType>(1 + random() % (kDataTypeCount - 2));  // all but BYTES
    const int rank = static_cast<int>(random() % 5);
    for (int i = 0; i < rank; ++i) view.shape.push_back(static_cast<int64_t>(random() % 6));
    const uint64_t offset = random() % 100 * kAlign;
    view.data = {arena + offset, DenseBytes(view.dtype, view.shape).value()};
    TensorDesc desc;
    WriteDesc(view, offset, &desc);
    std::vector<TensorView> read;
    const Status status = ReadDescs(&desc, 1, arena, &read);
    ASSERT_TRUE(status.ok()) << status.ToString();
    ASSERT_EQ(read.size(), 1u);
    EXPECT_EQ(read[0].spec, view.spec);
    EXPECT_EQ(read[0].dtype, view.dtype);
    EXPECT_EQ(read[0].shape, view.shape);
    EXPECT_EQ(read[0].data.data(), view.data.data());
    EXPECT_EQ(read[0].data.size(), view.data.size());
  }
}

TEST(FrameTest, BytesElementsMustFillTheTensorExactly) {
  alignas(64) std::byte arena[64] = {};
  const uint32_t length = 3;
  std::memcpy(arena, &length, sizeof length);
  TensorDesc desc;
  WriteDesc({0, DataType::kBytes, Shape{1}, {arena, 7}}, 0, &desc);
  std::vector<TensorView> views;
  EXPECT_TRUE(ReadDescs(&desc, 1, arena, &views).ok());
  desc.bytes = 6;  // ends inside the element
  EXPECT_EQ(ReadDescs(&desc, 1, arena, &views).code(), Code::kInternal);
  desc.bytes = 8;  // a byte too many
  EXPECT_EQ(ReadDescs(&desc, 1, arena, &views).code(), Code::kInternal);
  EXPECT_TRUE(views.empty());
}

TEST(FrameTest, OverflowingShapeIsRefused) {
  alignas(64) std::byte arena[64] = {};
  TensorDesc desc;
  WriteDesc({0, DataType::kFp64, Shape{1, 1, 1}, {arena, 8}}, 0, &desc);
  std::vector<TensorView> views;
  ASSERT_TRUE(ReadDescs(&desc, 1, arena, &views).ok());
  for (int64_t d : {int64_t{1} << 61, int64_t{1} << 62, INT64_MAX, int64_t{-1}, INT64_MIN}) {
    desc.dims[1] = d;
    EXPECT_EQ(ReadDescs(&desc, 1, arena, &views).code(), Code::kInternal) << d;
  }
}

}  // namespace
}  // namespace evenkeel::ipc
