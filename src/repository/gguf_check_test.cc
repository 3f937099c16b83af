#include "repository/gguf_check.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <functional>
#include <limits>
#include <string>

#include "repository/gguf_bytes.h"
#include "repository/gguf_reader.h"
#include "repository/gguf_vocabulary_check.h"

namespace evenkeel {
namespace {

using testing::HasSubstr;
using Change = std::function<void(GgufBytes&)>;

GgufFacts Good(const GgufBytes& file) {
  const Result<GgufFacts> facts = CheckGgufBytes(file.Build());
  EXPECT_TRUE(facts.ok()) << facts.status().ToString();
  return facts.ok() ? *facts : GgufFacts{};
}
GgufFacts GoodWith(const Change& change) {
  GgufBytes file = TinyGguf();
  change(file);
  return Good(file);
}

std::string BadBytes(const std::string& bytes, Code code = Code::kInvalidArgument) {
  const Result<GgufFacts> facts = CheckGgufBytes(bytes);
  EXPECT_EQ(facts.status().code(), code) << facts.status().ToString();
  return facts.status().message();
}
// What is said of the tiny model after `change`.
std::string Bad(const Change& change, Code code = Code::kInvalidArgument) {
  GgufBytes file = TinyGguf();
  change(file);
  return BadBytes(file.Build(), code);
}

TEST(GgufCheckTest, FactsAreWhatTheFileSays) {
  const GgufFacts facts = Good(TinyGguf());
  EXPECT_EQ(facts.architecture, "llama");
  EXPECT_EQ(facts.name, "Tiny");
  EXPECT_EQ(facts.licence, "apache-2.0");
  EXPECT_EQ(facts.quantisation, "F32");
  EXPECT_EQ(facts.weight_type, "F32");
  EXPECT_EQ(facts.pooling, "");
  EXPECT_EQ(facts.context_tokens, 64);
  EXPECT_EQ(facts.blocks, 2);
  EXPECT_EQ(facts.embedding, 32);
  EXPECT_EQ(facts.heads, 4);
  EXPECT_EQ(facts.kv_heads, 2);
  EXPECT_EQ(facts.vocabulary, 5);
  EXPECT_TRUE(facts.chat_template);
  EXPECT_EQ(facts.parameters, 256u);
  EXPECT_EQ(facts.weight_bytes, 1024);
  EXPECT_EQ(facts.file_bytes, static_cast<int64_t>(TinyGguf().Build().size()));
  EXPECT_EQ(facts.kv_bytes_per_token, 2 * 2 * (8 + 8) * 2);  // blocks, KV heads, K and V, bytes
}

TEST(GgufCheckTest, WhatMayBeLeftOutMayBeLeftOut) {
  const GgufFacts facts = GoodWith([](GgufBytes& file) {
    for (const char* key :
         {"general.name", "general.license", "general.file_type", "llama.feed_forward_length",
          "llama.attention.head_count_kv", "llama.rope.freq_base", "tokenizer.ggml.scores",
          "tokenizer.ggml.token_type", "tokenizer.ggml.merges", "tokenizer.ggml.bos_token_id",
          "tokenizer.chat_template"}) {
      file.Remove(key);
    }
    file.version = 2;
  });
  EXPECT_EQ(facts.name, "");
  EXPECT_EQ(facts.quantisation, "F32");
  EXPECT_EQ(facts.kv_heads, 4);
  EXPECT_FALSE(facts.chat_template);
}

TEST(GgufCheckTest, QuantisationIsTheFileTypeElseTheTypeOfMostBytes) {
  const auto change = [](uint32_t file_type) {
    return [file_type](GgufBytes& file) {
      file.U32("general.file_type", file_type);
      file.Add("blk.0.ffn_up.weight", {256, 64}, 12, 64 * 144);
    };
  };
  EXPECT_EQ(GoodWith(change(15)).quantisation, "Q4_K_M");
  EXPECT_EQ(GoodWith(change(15)).weight_type, "Q4_K");
  EXPECT_EQ(GoodWith(change(1024 + 3)).quantisation, "Q4_1");
  EXPECT_EQ(GoodWith(change(40)).quantisation, "Q1_0");
  EXPECT_EQ(GoodWith(change(5)).quantisation, "Q4_K");
  EXPECT_EQ(GoodWith(change(4'000'000'000)).quantisation, "Q4_K");
}

TEST(GgufCheckTest, OddTextsAreShownSafely) {
  EXPECT_EQ(GoodWith([](auto& f) { f.Text("general.name", "a\xff"); }).name, "'a\\xff'");
  const GgufFacts facts =
      GoodWith([](auto& f) { f.Text("general.license", std::string(5000, 'x')); });
  EXPECT_LT(facts.licence.size(), 300u);
  EXPECT_EQ(GoodWith([](auto& f) { f.Texts("general.license", {"a", "b"}); }).licence, "");
}

TEST(GgufCheckTest, OtherFilesAreToldApart) {
  EXPECT_EQ(BadBytes(""), "the file is empty");
  EXPECT_EQ(BadBytes("hello, I am a text file"), "no GGUF file: 'GGUF' is missing");
  EXPECT_THAT(BadBytes("GGUF"), HasSubstr("needs 4 bytes from byte 4 on, there are 0"));
  EXPECT_THAT(Bad([](auto& f) { f.version = 1; }, Code::kUnsupported),
              HasSubstr("version 1 of GGUF is not supported; 2 and 3 are"));
  EXPECT_THAT(Bad([](auto& f) { f.version = 0; }, Code::kUnsupported), HasSubstr("version 0"));
  EXPECT_THAT(Bad([](auto& f) { f.version = 4; }, Code::kUnsupported), HasSubstr("version 4"));
  EXPECT_THAT(Bad([](auto& f) { f.version = 3U << 24; }, Code::kUnsupported),
              HasSubstr("big-endian"));
}

TEST(GgufCheckTest, LyingCountsAreRefused) {
  EXPECT_THAT(Bad([](auto& f) { f.key_count = 4'000'000'000; }, Code::kTooLarge),
              HasSubstr("4000000000 keys; at most 65536"));
  EXPECT_THAT(Bad([](auto& f) { f.key_count = 50'000; }), HasSubstr("50000 keys, and"));
  EXPECT_THAT(Bad([](auto& f) { f.tensor_count = ~uint64_t{0}; }, Code::kTooLarge),
              HasSubstr("18446744073709551615 tensors; at most 131072"));
  EXPECT_THAT(Bad([](auto& f) { f.tensor_count = 100'000; }), HasSubstr("100000 tensors, and"));
  EXPECT_THAT(Bad([](auto& f) { f.tensor_count = 5; }), HasSubstr("tensor 5 of 5"));
  EXPECT_THAT(Bad([](auto& f) { f.key_count = 22; }), HasSubstr("tensor 1 of 4: corrupt"));
  EXPECT_THAT(Bad([](auto& f) { f.tensor_count = 0; }), HasSubstr("there are no tensors in it"));
  EXPECT_THAT(Bad([](auto& f) { f.key_count = 0; }), HasSubstr("tensor 'general.architecture'"));
}

TEST(GgufCheckTest, ValuesMustBeWellFormed) {
  EXPECT_EQ(Bad([](auto& f) { f.Set("x", 13, ""); }), "key 'x': type 13 is not known");
  EXPECT_THAT(Bad([](auto& f) { f.Set("x", 0xffffffff, ""); }), HasSubstr("type 4294967295"));
  EXPECT_EQ(Bad([](auto& f) { f.Repeat("general.name"); }), "key 'general.name': is there twice");
  EXPECT_EQ(Bad([](auto& f) { f.Set("x", GgufType::kBool, "\2"); }),
            "key 'x': expected a BOOL of 0 or 1, got 2");
  EXPECT_THAT(Bad([](auto& f) { f.U32("", 1); }), HasSubstr("key 22 of 22: the name has 0 bytes"));
  EXPECT_THAT(Bad([](auto& f) { f.U32(std::string(1025, 'k'), 1); }),
              HasSubstr("the name has 1025 bytes, expected 1 to 1024"));
  EXPECT_THAT(
      Bad([](auto& f) { f.U32(std::string(70, '\xff'), 1).Repeat(std::string(70, '\xff')); }),
      HasSubstr("key '\\xff\\xff"));
  EXPECT_THAT(
      Bad([](auto& f) { f.Set("x", GgufType::kString, LittleEndianBytes(~uint64_t{0}, 8)); }),
      HasSubstr("key 'x': corrupt or cut off: needs 18446744073709551615 bytes"));
}

TEST(GgufCheckTest, ArraysAreHeldAgainstTheFile) {
  const uint64_t huge = uint64_t{1} << 61;
  for (GgufType item : {GgufType::kUint8, GgufType::kUint64, GgufType::kString, GgufType::kArray}) {
    EXPECT_THAT(Bad([&](auto& f) { f.Array("x", item, huge, ""); }),
                HasSubstr("key 'x': corrupt or cut off: 2305843009213693952 items of"));
  }
  EXPECT_THAT(Bad([](auto& f) { f.Array("x", static_cast<GgufType>(77), 0, ""); }),
              HasSubstr("key 'x': type 77 is not known"));
  const auto nested = [](int depth) {
    return [depth](GgufBytes& file) {
      std::string items;
      for (int i = 1; i < depth; ++i) items = GgufBytes::ArrayBytes(GgufType::kArray, 1, items);
      file.Array("x", GgufType::kArray, 1, items + std::string(12, '\0'));
    };
  };
  const std::string inner = GgufBytes::ArrayBytes(GgufType::kUint8, 2, "ab");
  Good(TinyGguf().Array("x", GgufType::kArray, 2, inner + inner));
  EXPECT_THAT(Bad(nested(2'000)), HasSubstr("key 'x': "));
  std::string deep = inner;
  for (int i = 0; i < 3; ++i) deep = GgufBytes::ArrayBytes(GgufType::kArray, 1, deep);
  EXPECT_EQ(Bad([&](auto& f) { f.Array("x", GgufType::kArray, 1, deep); }),
            "key 'x': arrays nested more than 4 deep");
}

TEST(GgufCheckTest, OneWholeModelIsWanted) {
  Good(TinyGguf().Text("general.type", "model").U32("split.count", 1));
  EXPECT_EQ(Bad([](auto& f) { f.Text("general.type", "adapter"); }, Code::kUnsupported),
            "key 'general.type': expected 'model', got 'adapter'");
  EXPECT_EQ(Bad(
                [](auto& f) {
                  f.Set("split.count", GgufType::kUint16, LittleEndianBytes(3, 2));
                  f.Set("split.no", GgufType::kUint16, LittleEndianBytes(1, 2));
                },
                Code::kUnsupported),
            "key 'split.count': expected a whole model, got part 2 of 3: join the parts into one "
            "file first");
  EXPECT_THAT(
      Bad([](auto& f) { f.Text("split.count", "2"); }),
      HasSubstr("key 'split.count': expected a whole number from 0 to 65535, got a STRING"));
}

TEST(GgufCheckTest, ArchitectureIsAPlainName) {
  const std::string key = "general.architecture";
  EXPECT_EQ(Bad([&](auto& f) { f.Remove(key); }),
            "key 'general.architecture': is missing, expected a name such as 'llama'");
  for (const std::string& name :
       {std::string(), std::string("Llama"), std::string("../x"), std::string("a b"),
        std::string("\xff"), std::string("a\0b", 3), std::string(65, 'a')}) {
    EXPECT_THAT(Bad([&](auto& f) { f.Text(key, name); }), HasSubstr("expected 1 to 64 small"))
        << name;
  }
  EXPECT_THAT(Bad([&](auto& f) { f.U32(key, 1); }), HasSubstr("expected a STRING, got a UINT32"));
  EXPECT_EQ(Bad([&](auto& f) { f.Text(key, "banana"); }),
            "key 'banana.block_count': is missing, expected a whole number from 1 to 512");
}

TEST(GgufCheckTest, SizesOfTheModelHaveRanges) {
  struct Case {
    const char* key;
    uint32_t value;
  };
  for (const Case& bad : {Case{"block_count", 0},
                          {"block_count", 4'000'000'000},
                          {"block_count", 513},
                          {"context_length", 0},
                          {"context_length", (1U << 24) + 1},
                          {"embedding_length", 0},
                          {"embedding_length", 4'000'000'000},
                          {"feed_forward_length", 0},
                          {"feed_forward_length", 4'000'000'000},
                          {"attention.head_count", 0},
                          {"attention.head_count", 4'000'000'000},
                          {"attention.head_count_kv", 0},
                          {"attention.key_length", 0},
                          {"attention.value_length", 4'000'000'000},
                          {"expert_count", 4'000'000'000},
                          {"expert_used_count", 1},
                          {"rope.dimension_count", 4'000'000'000},
                          {"pooling_type", 5}}) {
    const std::string key = std::string("llama.") + bad.key;
    const std::string message = Bad([&](auto& f) { f.U32(key, bad.value); });
    EXPECT_THAT(message, HasSubstr("key '" + key + "': expected a whole number from "));
    EXPECT_THAT(message, HasSubstr("got " + std::to_string(bad.value)));
  }
  for (const char* key :
       {"block_count", "context_length", "embedding_length", "attention.head_count"}) {
    EXPECT_THAT(Bad([&](auto& f) { f.Remove(std::string("llama.") + key); }),
                HasSubstr("key 'llama." + std::string(key) + "': is missing"));
  }
  EXPECT_THAT(Bad([](auto& f) {
                f.Set("llama.block_count", GgufType::kInt32, LittleEndianBytes(0xfffffffb, 4));
              }),
              HasSubstr("expected a whole number from 1 to 512, got -5"));
  EXPECT_THAT(Bad([](auto& f) {
                f.Set("llama.block_count", GgufType::kUint64, LittleEndianBytes(~uint64_t{0}, 8));
              }),
              HasSubstr("got 18446744073709551615"));
  EXPECT_THAT(Bad([](auto& f) { f.F32("llama.block_count", 2); }), HasSubstr("got a FLOAT32"));
}

TEST(GgufCheckTest, HeadsDivideEvenly) {
  EXPECT_EQ(Bad([](auto& f) { f.U32("llama.attention.head_count_kv", 3); }),
            "key 'llama.attention.head_count_kv': expected a divisor of head_count, 4, in block 0, "
            "got 3");
  EXPECT_THAT(Bad([](auto& f) { f.U32("llama.attention.head_count", 6); }),
              HasSubstr("embedding_length, 32, is no multiple of 6 heads"));
  const GgufFacts facts = GoodWith([](auto& f) {
    f.U32("llama.attention.head_count", 6);
    f.U32("llama.attention.key_length", 16).U32("llama.attention.value_length", 8);
  });
  EXPECT_EQ(facts.kv_bytes_per_token, 2 * 2 * (16 + 8) * 2);
}

TEST(GgufCheckTest, HeadsMayDifferFromBlockToBlock) {
  const GgufFacts facts = GoodWith([](auto& f) {
    f.U32s("llama.attention.head_count", {4, 2}).U32s("llama.attention.head_count_kv", {2, 0});
    f.U32s("llama.feed_forward_length", {64, 0}, GgufType::kInt32);
  });
  EXPECT_EQ(facts.heads, 4);
  EXPECT_EQ(facts.kv_heads, 2);
  EXPECT_EQ(facts.kv_bytes_per_token, 2 * (8 + 8) * 2);
  EXPECT_EQ(GoodWith([](auto& f) {
              f.U32s("llama.attention.key_length", {4, 16});
            }).kv_bytes_per_token,
            2 * (4 + 8) * 2 + 2 * (16 + 8) * 2);
  EXPECT_THAT(
      Bad([](auto& f) {
        f.U32s("llama.attention.head_count", {4, 4, 4});
      }),
      HasSubstr("expected a whole number or an ARRAY of 2, one a block, got an ARRAY of 3"));
  EXPECT_THAT(Bad([](auto& f) {
                f.U32s("llama.attention.head_count_kv", {2, 3});
              }),
              HasSubstr("expected a divisor of head_count, 4, in block 1, got 3"));
  EXPECT_THAT(Bad([](auto& f) {
                f.U32s("llama.attention.head_count", {4, 4'000'000'000});
              }),
              HasSubstr("got 4000000000"));
  EXPECT_THAT(Bad([](auto& f) {
                f.Array("llama.attention.head_count", GgufType::kFloat32, 2, std::string(8, '\0'));
              }),
              HasSubstr("got an ARRAY of 2 FLOAT32"));
}

TEST(GgufCheckTest, ModelsWithoutAttentionHaveNoHeads) {
  const GgufFacts facts = GoodWith([](auto& f) {
    f.U32("llama.ssm.state_size", 16).U32("llama.attention.head_count", 0);
    f.U32("llama.feed_forward_length", 0).Remove("llama.attention.head_count_kv");
  });
  EXPECT_EQ(facts.heads, 0);
  EXPECT_EQ(facts.kv_bytes_per_token, 0);
}

TEST(GgufCheckTest, ExpertsPoolingAndNumbers) {
  EXPECT_EQ(GoodWith([](auto& f) {
              f.U32("llama.expert_count", 8).U32("llama.expert_used_count", 2);
              f.U32("llama.pooling_type", 3);
            }).pooling,
            "last");
  EXPECT_THAT(Bad([](auto& f) { f.U32("llama.expert_count", 8); }),
              HasSubstr("key 'llama.expert_used_count': is missing"));
  EXPECT_THAT(
      Bad([](auto& f) { f.U32("llama.expert_count", 8).U32("llama.expert_used_count", 9); }),
      HasSubstr("expected a whole number from 1 to 8, got 9"));
  const float nan = std::numeric_limits<float>::quiet_NaN();
  EXPECT_THAT(Bad([&](auto& f) { f.F32("llama.attention.layer_norm_rms_epsilon", nan); }),
              HasSubstr("layer_norm_rms_epsilon': expected a number from 0 to 1, got nan"));
  EXPECT_THAT(Bad([](auto& f) { f.F32("llama.rope.freq_base", -1); }), HasSubstr("got -1"));
  EXPECT_THAT(Bad([](auto& f) { f.U32("llama.rope.freq_base", 1); }), HasSubstr("got a UINT32"));
}

TEST(GgufCheckTest, TheTokenizerHoldsTogether) {
  const std::string ggml = "tokenizer.ggml.";
  EXPECT_THAT(Bad([&](auto& f) { f.Remove(ggml + "model"); }),
              HasSubstr("key 'tokenizer.ggml.model': is missing"));
  EXPECT_THAT(Bad([&](auto& f) { f.Text(ggml + "model", "none"); }, Code::kUnsupported),
              HasSubstr("the model has no tokenizer"));
  EXPECT_EQ(Bad([&](auto& f) { f.Remove(ggml + "tokens"); }),
            "key 'tokenizer.ggml.tokens': is missing");
  EXPECT_THAT(Bad([&](auto& f) { f.Texts(ggml + "tokens", {}); }),
              HasSubstr("expected 1 to 1048576 tokens, got 0"));
  EXPECT_THAT(Bad([&](auto& f) {
                f.U32s(ggml + "tokens", {1, 2});
              }),
              HasSubstr("expected an ARRAY of STRING, got an ARRAY of 2 UINT32"));
  EXPECT_EQ(Bad([&](auto& f) {
              f.Texts(ggml + "tokens", {"x", "y", "z", "y", "w"});
            }),
            "key 'tokenizer.ggml.tokens': 'y' is there twice");
  Good(TinyGguf().Texts(ggml + "tokens", {"", "", "", "x", "y"}));
  EXPECT_THAT(Bad([&](auto& f) {
                f.Texts(ggml + "tokens", {"a", "b", "c", std::string(65'537, 'd'), "e"});
              }),
              HasSubstr("token 3 has 65537 bytes, expected at most 65536"));
  EXPECT_THAT(Bad([&](auto& f) {
                f.U32s(ggml + "token_type", {1, 1}, GgufType::kInt32);
              }),
              HasSubstr("key 'tokenizer.ggml.token_type': expected 5 items, one a token, got 2"));
  EXPECT_THAT(Bad([&](auto& f) { f.Array(ggml + "scores", GgufType::kUint8, 5, "12345"); }),
              HasSubstr("expected an ARRAY of FLOAT32, got an ARRAY of 5 UINT8"));
  EXPECT_THAT(Bad([&](auto& f) { f.U32s(ggml + "merges", {1}); }),
              HasSubstr("key 'tokenizer.ggml.merges': expected an ARRAY of STRING"));
  EXPECT_THAT(Bad([&](auto& f) { f.Text(ggml + "precompiled_charsmap", "x"); }),
              HasSubstr("expected an ARRAY of UINT8, got a STRING"));
}

TEST(GgufCheckTest, IdsWithARoleAreTokens) {
  for (const char* role : {"bos", "eos", "eot", "eom", "unknown", "padding", "seperator", "mask",
                           "fim_pre", "something_new"}) {
    const std::string key = std::string("tokenizer.ggml.") + role + "_token_id";
    EXPECT_EQ(Bad([&](auto& f) { f.U32(key, 5); }),
              "key '" + key + "': expected a whole number from 0 to 4, got 5");
    EXPECT_THAT(Bad([&](auto& f) { f.U32(key, 4'000'000'000); }), HasSubstr("got 4000000000"));
    EXPECT_THAT(Bad([&](auto& f) { f.Text(key, "1"); }), HasSubstr("got a STRING"));
    GoodWith([&](auto& f) { f.U32(key, 4); });
  }
  EXPECT_THAT(Bad([](auto& f) {
                f.U32s("tokenizer.ggml.eos_token_ids", {1, 2, 9});
              }),
              HasSubstr("key 'tokenizer.ggml.eos_token_ids': expected a whole number from 0 to 4"));
}

TEST(GgufCheckTest, ChatTemplatesAreTextsOfSomeSize) {
  const std::string key = "tokenizer.chat_template";
  EXPECT_FALSE(GoodWith([&](auto& f) { f.Text(key, ""); }).chat_template);
  EXPECT_THAT(Bad([&](auto& f) { f.Text(key, std::string(kMaxGgufTemplateBytes + 1, ' ')); },
                  Code::kTooLarge),
              HasSubstr("key 'tokenizer.chat_template': 1048577 bytes of text"));
  EXPECT_EQ(Bad([&](auto& f) { f.Text(key, "a\xc0\x80"); }), "key '" + key + "': is not UTF-8");
  EXPECT_THAT(Bad([&](auto& f) { f.Text(key + ".tool_use", "\xff"); }),
              HasSubstr("key 'tokenizer.chat_template.tool_use': is not UTF-8"));
  EXPECT_THAT(Bad([&](auto& f) { f.U32(key, 1); }), HasSubstr("expected a STRING, got a UINT32"));
  GoodWith([&](auto& f) { f.Texts("tokenizer.chat_templates", {"tool_use"}); });
}

}  // namespace
}  // namespace evenkeel
