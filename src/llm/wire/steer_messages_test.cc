#include "llm/wire/steer_messages.h"

#include <gtest/gtest.h>

#include "llm/wire/messages.h"

namespace evenkeel {
namespace {

LlmSteer Full() {
  LlmSteer steer;
  steer.threads = 3;
  steer.running = 14;
  steer.prompt_share_permille = 1500;
  steer.answers = std::chrono::milliseconds(20);
  steer.prompt_token = std::chrono::microseconds(900);
  steer.slots = 24;
  steer.cells = 8192;
  return steer;
}

TEST(SteerMessagesTest, WhatIsWrittenIsRead) {
  EXPECT_EQ(DecodeSteer(Encode(Full())).value(), Full());
  LlmSteered steered;
  steered.answer = false;
  steered.threads = 2;
  steered.slots = 16;
  steered.cells = 11650;
  const auto read = DecodeSteered(Encode(steered)).value();
  EXPECT_FALSE(read.answer);
  EXPECT_EQ(read.threads, 2);
  EXPECT_EQ(read.slots, 16);
  EXPECT_EQ(read.cells, 11650);
}

TEST(SteerMessagesTest, AnythingCutLongerOrOutOfRangeIsRefused) {
  const std::string whole = Encode(Full());
  for (size_t size = 0; size < whole.size(); ++size)
    EXPECT_EQ(DecodeSteer(whole.substr(0, size)).status().code(), Code::kInternal) << size;
  EXPECT_FALSE(DecodeSteer(whole + "x").ok());
  const auto refused = [](auto change) {
    LlmSteer steer = Full();
    change(steer);
    return !DecodeSteer(Encode(steer)).ok();
  };
  EXPECT_TRUE(refused([](LlmSteer& s) { s.threads = -1; }));
  EXPECT_TRUE(refused([](LlmSteer& s) { s.threads = 513; }));
  EXPECT_TRUE(refused([](LlmSteer& s) { s.running = 257; }));
  EXPECT_TRUE(refused([](LlmSteer& s) { s.prompt_share_permille = 0; }));
  EXPECT_TRUE(refused([](LlmSteer& s) { s.answers = Duration(-1); }));
  EXPECT_TRUE(refused([](LlmSteer& s) { s.prompt_token = Duration(-1); }));
  EXPECT_TRUE(refused([](LlmSteer& s) { s.slots = 257; }));
  EXPECT_TRUE(refused([](LlmSteer& s) { s.cells = -1; }));
  LlmSteered steered;
  steered.slots = -1;
  EXPECT_FALSE(DecodeSteered(Encode(steered)).ok());
  EXPECT_FALSE(DecodeSteered("").ok());
}

TEST(SteerMessagesTest, AStepSaysItsThreadsAndDepth) {
  StepReport step;
  step.answers = 4;
  step.prompt_tokens = 100;
  step.cells_held = 700;
  step.threads = 2;
  step.depth = 150;
  step.took = std::chrono::milliseconds(20);
  const std::string bytes = Encode(step);
  const auto read = DecodeStep(bytes).value();
  EXPECT_EQ(read.answers, 4);
  EXPECT_EQ(read.cells_held, 700);
  EXPECT_EQ(read.threads, 2);
  EXPECT_EQ(read.depth, 150);
  EXPECT_EQ(read.took, step.took);
  for (size_t size = 0; size < bytes.size(); ++size)
    EXPECT_FALSE(DecodeStep(bytes.substr(0, size)).ok());
}

}  // namespace
}  // namespace evenkeel
