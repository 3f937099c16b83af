#include "llm/wire/kv_state.h"

#include <gtest/gtest.h>

#include <cstdint>
#include <cstring>
#include <functional>
#include <string>
#include <vector>

#include "core/sequence_state.h"
#include "llm/wire/byte_codec.h"

namespace evenkeel {
namespace {

constexpr uint32_t kF32 = 0, kF16 = 1, kQ8 = 8;

// A state as the engine writes it: every field can be made wrong.
struct Written {
  uint32_t streams = 1, cells = 3, ids = 1, transposed = 0, layers = 2;
  std::vector<int32_t> positions = {2, 0, 1};
  uint32_t type = kF16, value_number = 2;
  uint64_t row = 8;          // bytes of a cell's keys, and of its values
  uint32_t value_row = 4;    // numbers
  uint16_t number = 0x3c00;  // 1

  std::string Bytes() const {
    ByteWriter out;
    out.Number(uint32_t{0x67676d6c});
    out.Number(int32_t{5});
    out.Number(streams);
    out.Number(cells);
    for (const int32_t position : positions) {
      out.Number(position);
      out.Number(ids);
      out.Number(int32_t{5});
    }
    out.Number(transposed);
    out.Number(layers);
    const auto numbers = [&](uint64_t bytes) {
      for (uint64_t i = 0; i < bytes / sizeof number; ++i) out.Number(number);
    };
    for (uint32_t layer = 0; layer < layers; ++layer) {
      out.Number(type);
      out.Number(row);
      numbers(row * positions.size());
    }
    for (uint32_t layer = 0; layer < layers; ++layer) {
      out.Number(type);
      if (transposed != 0) {
        out.Number(value_number);
        out.Number(value_row);
        numbers(uint64_t{value_number} * value_row * positions.size());
      } else {
        out.Number(row);
        numbers(row * positions.size());
      }
    }
    return out.Take();
  }
};

TEST(KvStateTest, WhatTheEngineWritesPasses) {
  EXPECT_TRUE(CheckKvState(Written().Bytes(), 3).ok());
  Written columns;
  columns.transposed = 1;
  const Status passed = CheckKvState(columns.Bytes(), 3);
  EXPECT_TRUE(passed.ok()) << passed.ToString();
  Written wide;
  wide.type = kF32;
  EXPECT_TRUE(CheckKvState(wide.Bytes(), 3).ok());
}

TEST(KvStateTest, EveryTruncationAndExtensionIsRefused) {
  for (const uint32_t transposed : {0U, 1U}) {
    Written written;
    written.transposed = transposed;
    const std::string whole = written.Bytes();
    for (size_t size = 0; size < whole.size(); ++size)
      EXPECT_EQ(CheckKvState(std::string_view(whole).substr(0, size), 3).code(),
                Code::kInvalidArgument)
          << size;
    EXPECT_FALSE(CheckKvState(whole + "x", 3).ok());
  }
}

TEST(KvStateTest, WhatDoesNotFitItselfIsRefused) {
  const auto refused = [](const std::function<void(Written&)>& change) {
    Written written;
    change(written);
    return CheckKvState(written.Bytes(), 3).code() == Code::kInvalidArgument;
  };
  EXPECT_TRUE(refused([](Written& w) { w.streams = 2; }));
  EXPECT_TRUE(refused([](Written& w) { w.cells = 2; }));
  EXPECT_TRUE(refused([](Written& w) { w.cells = 0xffffffffU; }));
  EXPECT_TRUE(refused([](Written& w) { w.ids = 2; }));
  EXPECT_TRUE(refused([](Written& w) { w.positions = {0, 1, 1}; })) << "a position twice";
  EXPECT_TRUE(refused([](Written& w) { w.positions = {0, 1, 3}; }));
  EXPECT_TRUE(refused([](Written& w) { w.positions = {-1, 1, 0}; }));
  EXPECT_TRUE(refused([](Written& w) { w.transposed = 2; }));
  EXPECT_TRUE(refused([](Written& w) { w.layers = 0; }));
  EXPECT_TRUE(refused([](Written& w) { w.type = kQ8; }));
  EXPECT_TRUE(refused([](Written& w) { w.row = 7; })) << "half a number";
  EXPECT_TRUE(refused([](Written& w) { w.row = 0; }));
  EXPECT_TRUE(refused([](Written& w) {
    w.transposed = 1;
    w.value_number = 4;
  }));
  EXPECT_TRUE(refused([](Written& w) {
    w.transposed = 1;
    w.value_row = 0;
  }));
  // Of other tokens than it says.
  EXPECT_FALSE(CheckKvState(Written().Bytes(), 2).ok());
  EXPECT_FALSE(CheckKvState(Written().Bytes(), 4).ok());
  EXPECT_FALSE(CheckKvState(Written().Bytes(), 0).ok());
  EXPECT_FALSE(CheckKvState(Written().Bytes(), kMostStateTokens + 1).ok());
}

// A row that would wrap around with its cells, or take more than there is.
TEST(KvStateTest, ALyingRowReadsNothingBeyond) {
  std::string bytes = Written().Bytes();
  const size_t row = 4 * 4 + 3 * 12 + 2 * 4 + 4;  // behind header, cells, form, and the type
  for (const uint64_t lie : {uint64_t{1} << 24, uint64_t{1} << 62, ~uint64_t{0}, uint64_t{10}}) {
    std::memcpy(bytes.data() + row, &lie, sizeof lie);
    EXPECT_EQ(CheckKvState(bytes, 3).code(), Code::kInvalidArgument) << lie;
  }
}

TEST(KvStateTest, NumbersThatAreNoneAreFoundWhereverTheyAre) {
  const std::string whole = Written().Bytes();
  const size_t first = 4 * 4 + 3 * 12 + 2 * 4 + 4 + 8;
  int found = 0;
  for (const uint16_t bad : {uint16_t{0x7c00}, uint16_t{0xfc00}, uint16_t{0x7e01}}) {
    for (size_t i = 0; i < 12; ++i) {  // 3 cells of 4 numbers: the first layer's keys
      std::string bytes = whole;
      std::memcpy(bytes.data() + first + 2 * i, &bad, sizeof bad);
      found += CheckKvState(bytes, 3).ok() ? 0 : 1;
    }
  }
  EXPECT_EQ(found, 36);
  // The largest that is one.
  std::string largest = whole;
  const uint16_t most = 0x7bff;
  std::memcpy(largest.data() + first, &most, sizeof most);
  EXPECT_TRUE(CheckKvState(largest, 3).ok());
  // Of 32 bits, one that does not end at eight bytes: three cells of one number each.
  Written wide;
  wide.type = kF32;
  wide.row = 4;
  const uint32_t nan = 0x7fc00000U;
  for (size_t i = 0; i < 3; ++i) {
    std::string bytes = wide.Bytes();
    ASSERT_TRUE(CheckKvState(bytes, 3).ok());
    std::memcpy(bytes.data() + first + 4 * i, &nan, sizeof nan);
    EXPECT_FALSE(CheckKvState(bytes, 3).ok()) << i;
  }
}

}  // namespace
}  // namespace evenkeel
