#include "llm/wire/messages.h"

#include <gtest/gtest.h>

#include "llm/wire/load_messages.h"

namespace evenkeel {
namespace {

SequenceStart FullStart() {
  SequenceStart start;
  start.id = 7;
  start.leader = 6;
  start.prompt = {1, 2, 3};
  start.answered = {4, 5};
  start.max_tokens = 100;
  start.sampling.temperature = 0.5F;
  start.sampling.seed = 42;
  start.sampling.logit_bias = {{9, -100.0F}, {10, 1.5F}};
  start.stop = {"\n\n", "end"};
  start.grammar.kind = AnswerGrammar::Kind::kTools;
  start.grammar.gbnf = "root ::= \"x\"";
  start.grammar.lazy = true;
  start.grammar.triggers = {{1, "<tool>", -1}, {0, "", 17}};
  start.grammar.preserved = {17};
  start.grammar.begun = "<|im_start|>";
  start.top_logprobs = 3;
  start.ignore_eos = true;
  return start;
}

TEST(LlmMessagesTest, AStartArrivesAsItWasSent) {
  const SequenceStart start = FullStart();
  const auto read = DecodeStart(Encode(start));
  ASSERT_TRUE(read.ok()) << read.status().ToString();
  EXPECT_EQ(read->prompt, start.prompt);
  EXPECT_EQ(read->answered, start.answered);
  EXPECT_EQ(read->leader, 6u);
  EXPECT_EQ(read->sampling.seed, 42u);
  EXPECT_EQ(read->sampling.logit_bias, start.sampling.logit_bias);
  EXPECT_EQ(read->stop, start.stop);
  EXPECT_EQ(read->grammar.triggers.size(), 2u);
  EXPECT_EQ(read->grammar.triggers[1].token, 17);
  EXPECT_EQ(read->grammar.begun, start.grammar.begun);
  EXPECT_TRUE(read->ignore_eos);
}

TEST(LlmMessagesTest, TokensAndEndsArriveAsTheyWereSent) {
  SequenceToken token{3, 99, "caf\xc3\xa9", TokenLogprob{"caf", -0.5F, {{"caf", -0.5F}}}};
  const auto read = DecodeToken(Encode(token));
  ASSERT_TRUE(read.ok());
  EXPECT_EQ(read->text, token.text);
  EXPECT_EQ(read->logprob->top, token.logprob->top);
  SequenceEnd end;
  end.id = 3;
  end.reason = SequenceEnd::Reason::kFailed;
  end.status = Status(Code::kInternal, "out of\x01memory");
  end.decode = std::chrono::milliseconds(5);
  const auto back = DecodeEnd(Encode(end));
  ASSERT_TRUE(back.ok());
  EXPECT_EQ(back->status.code(), Code::kInternal);
  EXPECT_EQ(back->status.message(), "out of?memory");
  EXPECT_EQ(back->decode, end.decode);
}

TEST(LlmMessagesTest, EveryTruncationAndExtensionIsRefused) {
  const std::string start = Encode(FullStart());
  for (size_t size = 0; size < start.size(); ++size) {
    EXPECT_FALSE(DecodeStart(std::string_view(start).substr(0, size)).ok()) << size;
  }
  EXPECT_FALSE(DecodeStart(start + "x").ok());
  const std::string token = Encode(SequenceToken{1, 2, "text", std::nullopt});
  for (size_t size = 0; size < token.size(); ++size) {
    EXPECT_FALSE(DecodeToken(std::string_view(token).substr(0, size)).ok()) << size;
  }
}

TEST(LlmMessagesTest, NumbersThatNothingShouldReachAreRefused) {
  SequenceStart start = FullStart();
  start.sampling.temperature = std::numeric_limits<float>::quiet_NaN();
  EXPECT_FALSE(DecodeStart(Encode(start)).ok());
  start = FullStart();
  start.max_tokens = -1;
  EXPECT_FALSE(DecodeStart(Encode(start)).ok());
  start = FullStart();
  start.prompt.clear();
  EXPECT_FALSE(DecodeStart(Encode(start)).ok());
  SequenceEnd end;
  end.completion_tokens = -5;
  EXPECT_FALSE(DecodeEnd(Encode(end)).ok());
  end = SequenceEnd();
  EXPECT_TRUE(DecodeEnd(Encode(end)).ok());
  end.decode = std::chrono::hours(25);
  EXPECT_FALSE(DecodeEnd(Encode(end)).ok());
  StepReport step;
  EXPECT_TRUE(DecodeStep(Encode(step)).ok());
  step.took = Duration::max();
  EXPECT_FALSE(DecodeStep(Encode(step)).ok());
}

TEST(LoadMessagesTest, ArriveAsTheyWereSentAndRefusalsComeBackAsErrors) {
  LlmLoad load;
  load.path = "a model.gguf";
  load.cells = 20000;
  load.waits = true;
  load.inter_token = std::chrono::milliseconds(50);
  const auto read = DecodeLlmLoad(Encode(load));
  ASSERT_TRUE(read.ok());
  EXPECT_EQ(read->path, load.path);
  EXPECT_TRUE(read->waits);
  EXPECT_EQ(read->inter_token, load.inter_token);
  EXPECT_EQ(read->pooling, std::nullopt);
  load.pooling = Pooling::kNone;
  EXPECT_EQ(DecodeLlmLoad(Encode(load))->pooling, Pooling::kNone);
  LlmLoaded loaded{8192, 10000, 16, 49152, true, Pooling::kLast, 576, "llama", R"({"engine":"x"})",
                   ""};
  const auto back = DecodeLlmLoaded(Encode(loaded));
  ASSERT_TRUE(back.ok()) << back.status().ToString();
  EXPECT_EQ(back->cells, 10000);
  EXPECT_EQ(back->pooling, Pooling::kLast);
  EXPECT_EQ(back->vector_size, 576);
  EXPECT_EQ(back->facts, loaded.facts);
  const auto failed = DecodeLlmLoaded(R"({"op":"failed","code":1,"message":"no model"})");
  EXPECT_EQ(failed.status().code(), Code::kInvalidArgument);
  EXPECT_EQ(failed.status().message(), "no model");
  EXPECT_EQ(DecodeLlmLoaded("{").status().code(), Code::kInternal);
  // What is nested deep would overflow the stack of whoever copies it.
  for (const std::string field : {"engine", "message"}) {
    const std::string deep = R"({"op":"failed",")" + field + R"(":{"a":)" +
                             std::string(400'000, '[') + std::string(400'000, ']') + "}}";
    EXPECT_EQ(DecodeLlmLoaded(deep).status().code(), Code::kInternal);
  }
  EXPECT_EQ(DecodeLlmLoaded(R"({"op":"loaded","context":-1})").status().code(), Code::kInternal);
}

}  // namespace
}  // namespace evenkeel
