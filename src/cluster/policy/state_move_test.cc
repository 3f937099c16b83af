#include "cluster/policy/state_move.h"

#include <gtest/gtest.h>
#include <rapidcheck.h>
#include <rapidcheck/gtest.h>

#include <cmath>
#include <limits>

namespace evenkeel {
namespace {

constexpr double kNan = std::numeric_limits<double>::quiet_NaN();

// 1000 tokens of 50 kB over 100 MB/s, against 5 ms a token.
StateMove Plain() {
  StateMove move;
  move.bytes = 50'000'000;
  move.tokens = 1000;
  move.round_trip_s = 0.001;
  move.bytes_per_s = 100e6;
  move.prompt_token_s = 0.005;
  return move;
}

TEST(StateMoveTest, TheStateGoesWhereTheLinkIsFasterThanComputing) {
  const StateMoveChoice choice = ChooseStateMove(Plain());
  EXPECT_TRUE(choice.send_state);
  EXPECT_DOUBLE_EQ(choice.state_s, 0.501);
  EXPECT_DOUBLE_EQ(choice.tokens_s, 5);
}

TEST(StateMoveTest, TokensGoWhereTheLinkIsSlowTheNodeFastOrTheAnswerShort) {
  StateMove slow_link = Plain();
  slow_link.bytes_per_s = 9e6;  // 5.6 s
  EXPECT_FALSE(ChooseStateMove(slow_link).send_state);
  StateMove fast_node = Plain();
  fast_node.prompt_token_s = 0.0004;
  EXPECT_FALSE(ChooseStateMove(fast_node).send_state);
  // A hundred times less of both, and a round trip that does not shrink.
  StateMove shorter = Plain();
  shorter.bytes /= 100;
  shorter.tokens /= 100;
  EXPECT_TRUE(ChooseStateMove(shorter).send_state);
  shorter.round_trip_s = 0.05;
  EXPECT_FALSE(ChooseStateMove(shorter).send_state);
}

TEST(StateMoveTest, WhatWasNotMeasuredDoesNotSpeakForTheState) {
  for (const double unknown : {0.0, -1.0, kNan}) {
    StateMove link = Plain();
    link.bytes_per_s = unknown;
    EXPECT_FALSE(ChooseStateMove(link).send_state) << unknown;
    EXPECT_TRUE(std::isinf(ChooseStateMove(link).state_s)) << unknown;
    StateMove node = Plain();
    node.prompt_token_s = unknown;
    EXPECT_FALSE(ChooseStateMove(node).send_state) << unknown;
  }
  StateMove nothing = Plain();
  nothing.bytes = 0;
  EXPECT_FALSE(ChooseStateMove(nothing).send_state);
  StateMove no_tokens = Plain();
  no_tokens.tokens = 0;
  EXPECT_FALSE(ChooseStateMove(no_tokens).send_state);
}

RC_GTEST_PROP(StateMoveProperty, ChoosesWhatTakesLess, ()) {
  StateMove move;
  move.bytes = *rc::gen::inRange<int64_t>(1, 1'000'000'000);
  move.tokens = *rc::gen::inRange<int64_t>(1, 100'000);
  move.bytes_per_s = static_cast<double>(*rc::gen::inRange<int64_t>(1, 1'000'000'000));
  move.prompt_token_s = static_cast<double>(*rc::gen::inRange<int64_t>(1, 1'000'000)) * 1e-6;
  move.round_trip_s = static_cast<double>(*rc::gen::inRange<int64_t>(0, 1'000'000)) * 1e-6;
  const StateMoveChoice choice = ChooseStateMove(move);
  // In microseconds, but for what is too close to tell.
  const double sent_us =
      move.round_trip_s * 1e6 + 1e6 * static_cast<double>(move.bytes) / move.bytes_per_s;
  const double computed_us = static_cast<double>(move.tokens) * move.prompt_token_s * 1e6;
  if (std::abs(sent_us - computed_us) > 1e-6 * computed_us) {
    RC_ASSERT(choice.send_state == (sent_us < computed_us));
  }
  // A faster link and a slower node never speak against the state.
  StateMove better = move;
  better.bytes_per_s *= 2;
  better.prompt_token_s *= 1.5;
  RC_ASSERT(!choice.send_state || ChooseStateMove(better).send_state);
  // A link whose round trip takes as long as all the computing never has it.
  StateMove worse = move;
  worse.round_trip_s = choice.tokens_s;
  RC_ASSERT(!ChooseStateMove(worse).send_state);
}

}  // namespace
}  // namespace evenkeel
