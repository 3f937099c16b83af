// Numbers and words that a buggy neighbour could send, and that would harm whoever adds them up or passes them on.
#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <string>

#include "cluster/link/embedding_message.h"
#include "cluster/link/figures_message.h"
#include "cluster/link/generation_message.h"
#include "cluster/link/infer_message.h"
#include "core/format.h"
#include "core/parse.h"
#include "proto/node.pb.h"

namespace evenkeel {
namespace {

constexpr Duration kDay = std::chrono::hours(24);

TEST(MessageLimitsTest, TimesOfAnAnswerAreNeitherNegativeNorOutOfReason) {
  node::v1::InferResponse message;
  message.mutable_timings()->set_queue_ns(-5);
  message.mutable_timings()->set_batch_ns(7);
  message.mutable_timings()->set_compute_ns(std::numeric_limits<int64_t>::max());
  message.mutable_timings()->set_batch_rows(-1);
  Timings timings;
  ASSERT_TRUE(ReadAnswer(message, Signature(), &timings).ok());
  EXPECT_EQ(timings.queue, Duration::zero());
  EXPECT_EQ(timings.batch, Duration(7));
  EXPECT_EQ(timings.compute, kDay);
  EXPECT_EQ(timings.batch_rows, 0);
}

TEST(MessageLimitsTest, UsageCanBeAddedUp) {
  node::v1::GenerateEvent event;
  event.mutable_done()->set_prompt_tokens(-1);
  event.mutable_done()->set_cached_tokens(3);
  event.mutable_done()->set_completion_tokens(std::numeric_limits<int32_t>::max());
  event.mutable_done()->set_decode_ns(std::numeric_limits<int64_t>::min());
  GenerationUsage usage;
  ASSERT_TRUE(ReadDone(event, &usage).ok());
  EXPECT_EQ(usage.prompt_tokens, 0);
  EXPECT_EQ(usage.cached_tokens, 3);
  EXPECT_LE(usage.completion_tokens, 100'000'000);
  EXPECT_EQ(usage.decode, Duration::zero());
}

TEST(MessageLimitsTest, TokensOfVectorsAndScoresCanBeAddedUp) {
  node::v1::EmbedResponse vectors;
  vectors.set_prompt_tokens(-1);
  EXPECT_EQ(ReadEmbeddingAnswer(vectors).prompt_tokens, 0);
  node::v1::RankResponse scores;
  scores.set_prompt_tokens(std::numeric_limits<int32_t>::max());
  EXPECT_LE(ReadEmbeddingAnswer(scores).prompt_tokens, 100'000'000);
  scores.set_prompt_tokens(7);
  EXPECT_EQ(ReadEmbeddingAnswer(scores).prompt_tokens, 7);
}

TEST(MessageLimitsTest, AnErrorWithHalfACharacterCanBeRead) {
  node::v1::InferResponse message, read;
  WriteAnswer(InvalidArgument("{}", std::string("tensor \xc3")), {}, {}, Signature(), &message);
  ASSERT_TRUE(read.ParseFromString(message.SerializeAsString()));
  EXPECT_TRUE(IsUtf8(read.outcome().message()));
  EXPECT_NE(read.outcome().message().find("tensor"), std::string::npos);
}

struct PlainGeneration final : GenerationCall {
  void OnStart(int /*prompt_tokens*/) override {}
  void OnDelta(const GenerationDelta& /*delta*/) override {}
  void OnFinish(int /*choice*/, FinishReason /*reason*/) override {}
  void Done(const Status& /*status*/, const GenerationUsage& /*usage*/) override {}
};

TEST(MessageLimitsTest, SamplingHasToBeOfNumbers) {
  const auto read = [](auto change) {
    PlainGeneration sent, got;
    sent.request.prompt = "a";
    node::v1::GenerateRequest message;
    WriteGeneration(sent, "m", Time{}, &message);
    change(message.mutable_sampling());
    return ReadGeneration(message, Time{}, &got).ok();
  };
  EXPECT_TRUE(read([](auto*) {}));
  EXPECT_FALSE(read([](auto* s) { s->set_temperature(std::nanf("")); }));
  EXPECT_FALSE(read([](auto* s) { s->set_min_p(INFINITY); }));
  EXPECT_FALSE(read([](auto* s) { s->set_repeat_penalty(0); }));
  EXPECT_FALSE(read([](auto* s) {
    s->add_bias_token(1);
    s->add_bias(-INFINITY);
  }));
}

TEST(MessageLimitsTest, MemoryOfAllModelsCanBeAddedUp) {
  const auto read = [](int64_t bytes) {
    NodeFigures figures;
    figures.node = "a";
    figures.models.push_back({.name = "m", .version = "1"});
    node::v1::Figures message;
    WriteFigures(figures, &message);
    message.mutable_models(0)->set_memory_bytes(bytes);
    return ReadFigures(message).ok();
  };
  EXPECT_TRUE(read(int64_t{1} << 40));
  EXPECT_FALSE(read(-1));
  EXPECT_FALSE(read(std::numeric_limits<int64_t>::max() / 2));
}

}  // namespace
}  // namespace evenkeel
