#include "repository/gguf_tensor_check.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <functional>
#include <set>
#include <string>

#include "repository/gguf_bytes.h"
#include "repository/gguf_check.h"

namespace evenkeel {
namespace {

using testing::HasSubstr;

// What is said of the tiny model after `change`.
std::string Bad(const std::function<void(GgufBytes&)>& change, Code code = Code::kInvalidArgument) {
  GgufBytes file = TinyGguf();
  change(file);
  const Result<GgufFacts> facts = CheckGgufBytes(file.Build());
  EXPECT_EQ(facts.status().code(), code) << facts.status().ToString();
  return facts.status().message();
}

void ExpectGood(const std::string& bytes) {
  const Result<GgufFacts> facts = CheckGgufBytes(bytes);
  EXPECT_TRUE(facts.ok()) << facts.status().ToString();
}

struct TypeRow {
  uint32_t number;
  uint64_t bytes;  // of 256 numbers
};
constexpr TypeRow kTypes[] = {{0, 1024},  {1, 512},   {2, 144},   {3, 160},  {6, 176},  {7, 192},
                              {8, 272},   {9, 288},   {10, 84},   {11, 110}, {12, 144}, {13, 176},
                              {14, 210},  {15, 292},  {16, 66},   {17, 74},  {18, 98},  {19, 50},
                              {20, 144},  {21, 110},  {22, 82},   {23, 136}, {24, 256}, {25, 512},
                              {26, 1024}, {27, 2048}, {28, 2048}, {29, 56},  {30, 512}, {34, 54},
                              {35, 66},   {39, 136},  {40, 144},  {41, 36},  {42, 72}};

TEST(GgufTensorTest, EveryTypeHasItsSize) {
  for (const TypeRow& type : kTypes) {
    GgufBytes file = TinyGguf();
    file.Add("last.weight", {256, 3}, type.number, 3 * type.bytes);
    ExpectGood(file.Build());
    std::string shorter = file.Build();
    shorter.pop_back();
    EXPECT_THAT(CheckGgufBytes(shorter).status().message(),
                HasSubstr("needs " + std::to_string(3 * type.bytes) + " bytes"));
  }
}

TEST(GgufTensorTest, OtherTypesAreRefusedByNumber) {
  std::set<uint32_t> known;
  for (const TypeRow& type : kTypes) known.insert(type.number);
  for (uint32_t number = 0; number < 300; ++number) {
    EXPECT_EQ(GgmlTypeOf(number) != nullptr, known.contains(number)) << number;
  }
  EXPECT_EQ(Bad([](auto& f) { f.Add("w", {256}, 4, 64); }, Code::kUnsupported),
            "tensor 'w' (unknown type [256]): type 4 is not known");
  EXPECT_THAT(Bad([](auto& f) { f.Add("w", {256}, 0xffffffff, 64); }, Code::kUnsupported),
              HasSubstr("type 4294967295 is not known"));
}

TEST(GgufTensorTest, DimensionsAreHeldAgainstTheFile) {
  const uint64_t big = uint64_t{1} << 32;
  EXPECT_EQ(Bad([](auto& f) { f.Add("w", {33}, 2, 64); }),
            "tensor 'w' (Q4_0 [33]): expected rows of a multiple of 32 numbers, got 33");
  EXPECT_THAT(Bad([](auto& f) { f.Add("w", {0}, 0, 0); }), HasSubstr("a dimension is 0"));
  EXPECT_THAT(Bad([&](auto& f) { f.Add("w", {big, big}, 0, 64); }), HasSubstr("overflows"));
  EXPECT_THAT(Bad([&](auto& f) { f.Add("w", {1, big, big, big}, 0, 64); }), HasSubstr("overflows"));
  EXPECT_THAT(Bad([](auto& f) { f.Add("w", {uint64_t{1} << 63}, 0, 64); }),
              HasSubstr("the number of elements overflows"));
  EXPECT_THAT(Bad([](auto& f) { f.Add("w", {uint64_t{1} << 62}, 0, 64); }),
              HasSubstr("the number of bytes overflows"));
  EXPECT_THAT(Bad([](auto& f) { f.Add("w", {uint64_t{1} << 60}, 0, 64); }),
              HasSubstr("needs 4611686018427387904 bytes"));
  EXPECT_THAT(Bad([](auto& f) { f.Add("w", {}, 0, 0); }),
              HasSubstr("tensor 'w': expected 1 to 4 dimensions, got 0"));
  EXPECT_THAT(Bad([](auto& f) { f.Add("w", {1, 1, 1, 1, 1}, 0, 4); }), HasSubstr("got 5"));
  EXPECT_THAT(Bad([](auto& f) { f.Find("token_embd.weight").rank = 4'000'000'000; }),
              HasSubstr("got 4000000000"));
}

TEST(GgufTensorTest, NamesAreBoundedAndUnlike) {
  EXPECT_EQ(Bad([](auto& f) { f.Add("output_norm.weight", {32}, 0, 128); }),
            "tensor 'output_norm.weight': is there twice");
  EXPECT_THAT(Bad([](auto& f) { f.Add("", {32}, 0, 128); }),
              HasSubstr("tensor 5 of 5: the name has 0 bytes, expected 1 to 63"));
  EXPECT_THAT(Bad([](auto& f) { f.Add(std::string(64, 'n'), {32}, 0, 128); }),
              HasSubstr("the name has 64 bytes"));
  ExpectGood(TinyGguf().Add(std::string(63, 'n'), {32}, 0, 128).Build());
  EXPECT_THAT(Bad([](auto& f) { f.Add("\xff", {0}, 0, 128); }), HasSubstr("tensor '\\xff'"));
}

TEST(GgufTensorTest, OffsetsAreAlignedInsideAndApart) {
  const auto moved = [](uint64_t offset) {
    return [offset](GgufBytes& file) { file.Find("output_norm.weight").offset = offset; };
  };
  EXPECT_EQ(Bad(moved(900)),
            "tensor 'output_norm.weight' (F32 [32]): expected an offset that is a "
            "multiple of 32, got 900");
  EXPECT_THAT(Bad(moved(928)), HasSubstr("needs 128 bytes from 928 on, the data have 1024"));
  EXPECT_THAT(Bad(moved(uint64_t{1} << 63)), HasSubstr("from 9223372036854775808 on"));
  EXPECT_THAT(Bad(moved(~uint64_t{31})), HasSubstr("from 18446744073709551584 on"));
  EXPECT_EQ(Bad(moved(608)),
            "tensor 'output_norm.weight' (F32 [32]): begins at 608, inside tensor "
            "'token_embd.weight' (F32 [32,5]), which ends at 640");
  EXPECT_THAT(Bad(moved(0)), HasSubstr("which ends at"));
  // In another order, and with room between: odd, but sound.
  GgufBytes file = TinyGguf();
  file.Find("output_norm.weight").offset = 768;
  file.Find("blk.1.attn_norm.weight").offset = 896;
  ExpectGood(file.Build());
}

TEST(GgufTensorTest, AlignmentIsTheFilesOwn) {
  GgufBytes file = TinyGguf();
  file.alignment = 256;
  ExpectGood(file.U32("general.alignment", 256).Build());
  for (uint32_t bad : {0U, 1U, 4U, 48U, 131'072U, 4'000'000'000U}) {
    EXPECT_THAT(Bad([&](auto& f) { f.U32("general.alignment", bad); }),
                HasSubstr("key 'general.alignment': expected "));
  }
}

TEST(GgufTensorTest, BlocksAndEmbeddingsMatchTheModel) {
  EXPECT_EQ(Bad([](auto& f) {
              f.Add("blk.2.attn_q.weight", {32, 32}, 0, 4096);
            }),
            "tensor 'blk.2.attn_q.weight' (F32 [32,32]): expected a block from 0 to 1, got '2'");
  for (const char* name : {"blk.x.weight", "blk.", "blk..weight", "blk.-1.w",
                           "blk.99999999999999999999.w", "blk.4000000000.w"}) {
    EXPECT_THAT(Bad([&](auto& f) { f.Add(name, {32}, 0, 128); }),
                HasSubstr("expected a block from 0 to 1"));
  }
  EXPECT_EQ(Bad([](auto& f) { f.Find("token_embd.weight").name = "other.weight"; }),
            "tensor 'token_embd.weight' is missing");
  EXPECT_THAT(Bad([](auto& f) {
                f.Find("token_embd.weight").dims = {32, 4};
              }),
              HasSubstr("expected a row for each of 5 tokens"));
  EXPECT_THAT(Bad([](auto& f) {
                f.Find("token_embd.weight").dims = {16, 5};
              }),
              HasSubstr("expected rows of embedding_length, 32"));
}

}  // namespace
}  // namespace evenkeel
