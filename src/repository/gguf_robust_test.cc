// GGUF files that were cut or damaged: each is refused with a message, or is as sound as before.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <random>
#include <string>

#include "core/parse.h"
#include "repository/gguf_bytes.h"
#include "repository/gguf_check.h"
#include "repository/gguf_shape_check.h"
#include "repository/gguf_vocabulary_check.h"
#include "repository/model_check.h"
#include "repository/test_folder.h"

namespace evenkeel {
namespace {

using testing::HasSubstr;

// True when it passed. What passes keeps the promises of GgufFacts.
bool PassesSoundly(const std::string& bytes) {
  const Result<GgufFacts> facts = CheckGgufBytes(bytes);
  if (!facts.ok()) {
    EXPECT_FALSE(facts.status().message().empty());
    EXPECT_TRUE(IsUtf8(facts.status().message()));
    return false;
  }
  EXPECT_GE(facts->blocks, 1);
  EXPECT_LE(facts->blocks, static_cast<int>(kMaxGgufBlocks));
  EXPECT_GE(facts->context_tokens, 1);
  EXPECT_GE(facts->embedding, 1);
  EXPECT_GE(facts->vocabulary, 1);
  EXPECT_LE(facts->vocabulary, static_cast<int>(kMaxGgufVocabulary));
  EXPECT_LE(facts->weight_bytes, static_cast<int64_t>(bytes.size()));
  return true;
}

GgufBytes WithVocabulary(int tokens) {
  std::vector<std::string> texts;
  for (int i = 0; i < tokens; ++i) texts.push_back("token number " + std::to_string(i));
  GgufBytes file = TinyGguf();
  file.Texts("tokenizer.ggml.tokens", texts)
      .Remove("tokenizer.ggml.scores")
      .Remove("tokenizer.ggml.token_type");
  GgufBytes::Tensor& embeddings = file.Find("token_embd.weight");
  embeddings.dims = {32, static_cast<uint64_t>(tokens)};
  embeddings.bytes = 128 * static_cast<uint64_t>(tokens);
  return file;
}

TEST(GgufRobustTest, EveryCutIsRefused) {
  const std::string whole = TinyGguf().Build();
  ASSERT_TRUE(PassesSoundly(whole));
  for (size_t bytes = 0; bytes < whole.size(); ++bytes) {
    EXPECT_FALSE(PassesSoundly(whole.substr(0, bytes))) << bytes;
  }
}

TEST(GgufRobustTest, LargerHeadersAreRefusedWhereverTheyEnd) {
  const GgufBytes file = WithVocabulary(20'000);
  const std::string whole = file.Build();
  ASSERT_TRUE(PassesSoundly(whole));
  ASSERT_GT(file.Header().size(), 500'000u);
  for (size_t bytes = 4096; bytes < whole.size(); bytes += 4096) {
    EXPECT_FALSE(PassesSoundly(whole.substr(0, bytes))) << bytes;
  }
}

TEST(GgufRobustTest, EveryFlippedBitIsRefusedOrHarmless) {
  std::string bytes = TinyGguf().Build();
  const size_t header = TinyGguf().Header().size();
  size_t refused = 0;
  for (size_t bit = 0; bit < header * 8; ++bit) {
    const char flip = static_cast<char>(1 << (bit % 8));
    bytes[bit / 8] ^= flip;
    refused += PassesSoundly(bytes) ? 0 : 1;
    bytes[bit / 8] ^= flip;
  }
  // Texts, floats and the names of keys that nobody needs may change; the structure may not.
  EXPECT_GT(refused, header * 2);
  EXPECT_TRUE(PassesSoundly(bytes));
}

TEST(GgufRobustTest, RandomDamageIsRefusedOrHarmless) {
  const std::string whole = TinyGguf().Build();
  const size_t header = TinyGguf().Header().size();
  std::mt19937_64 random(7);
  for (int round = 0; round < 20'000; ++round) {
    std::string bytes = whole;
    for (uint64_t hits = 1 + random() % 8; hits > 0; --hits) {
      bytes[random() % header] = static_cast<char>(random() % 3 == 0 ? 0xff : random());
    }
    PassesSoundly(bytes);
  }
}

TEST(GgufRobustTest, EveryEightBytesMayLieAboutASize) {
  const std::string whole = TinyGguf().Build();
  const size_t header = TinyGguf().Header().size();
  for (uint64_t lie : {uint64_t{0}, uint64_t{1} << 31, uint64_t{1} << 32, uint64_t{1} << 63,
                       ~uint64_t{0}, ~uint64_t{7}, uint64_t{4'000'000'000}}) {
    for (size_t at = 4; at + 8 <= header; ++at) {
      std::string bytes = whole;
      PassesSoundly(bytes.replace(at, 8, LittleEndianBytes(lie, 8)));
    }
  }
}

TEST(GgufRobustTest, FilesAreReadThroughTheWindow) {
  TestFolder folder;
  ModelConfig config;
  config.folder = folder.path();
  config.path = folder.Write("m.gguf", WithVocabulary(20'000).Build());
  const Status status = CheckModelFile(config);
  EXPECT_TRUE(status.ok()) << status.ToString();
  const Result<GgufFacts> facts = CheckGgufFile(config.path);
  ASSERT_TRUE(facts.ok());
  EXPECT_EQ(facts->vocabulary, 20'000);
  config.path = folder.Write("cut.gguf", TinyGguf().Build().substr(0, 1000));
  EXPECT_THAT(CheckModelFile(config).message(),
              HasSubstr("'" + config.path + "': key 'tokenizer."));
  EXPECT_EQ(CheckGgufFile(folder.path() + "/none.gguf").status().code(), Code::kNotFound);
}

TEST(GgufRobustTest, HeadersHaveALimit) {
  TestFolder folder;
  GgufBytes file = TinyGguf();
  file.Set("x", GgufType::kString, LittleEndianBytes(uint64_t{300} << 20, 8));
  const std::string path = folder.Write("m.gguf", file.Build());
  std::filesystem::resize_file(path, uint64_t{1} << 30);  // a hole: takes no room on the disk
  const Status status = CheckGgufFile(path).status();
  EXPECT_EQ(status.code(), Code::kTooLarge);
  EXPECT_THAT(status.message(), HasSubstr("the header has more than 256 MiB"));
}

}  // namespace
}  // namespace evenkeel
