// What the dispatcher makes of a daemon that reads requests late: see policy/loop_lag.h.
#include <gtest/gtest.h>

#include <memory>
#include <vector>

#include "batching/dispatcher.h"
#include "batching/fake_call.h"
#include "batching/fake_channel.h"
#include "core/fake_event_loop.h"

namespace evenkeel {
namespace {

using namespace std::chrono_literals;

// One instance that takes 10 ms for a row, one row a batch.
class DispatcherLagTest : public ::testing::Test {
 protected:
  void SetUp() override {
    DispatcherOptions options;
    options.model = "m";
    options.signature = FakeCall::ModelSignature(/*max_batch=*/1);
    options.input_capacity = 1 << 16;
    options.loop_lag = &lag_;
    options.on_warm = [this](int, const Status&) { warm_ = true; };
    dispatcher_ = std::make_unique<Dispatcher>(std::move(options), loop_, clock_);
    dispatcher_->Attach(0, &channel_);
    while (!warm_ || !channel_.submitted.empty()) Finish();
  }
  void TearDown() override {
    bool drained = false;
    dispatcher_->Drain([&drained] { drained = true; });
    for (int i = 0; i < 100 && !drained; ++i) {
      if (!channel_.submitted.empty()) Finish();
      loop_.RunPosted();
    }
    EXPECT_TRUE(drained);
    dispatcher_->Detach(0);
  }

  void Finish() {
    channel_.Finish(10ms, clock_.Now());
    dispatcher_->OnChannelReadable(0);
  }
  FakeCall& Send(Time deadline = kNever) {
    FakeCall& call =
        *calls_.emplace_back(std::make_unique<FakeCall>(std::vector<float>{1}, clock_.Now()));
    call.deadline = deadline;
    dispatcher_->Infer(&call);
    return call;
  }
  void LateBy(Duration lag) {
    for (size_t i = 0; i < policy::LoopLag::kKept; ++i) lag_.Saw(clock_.Now(), lag);
  }

  ManualClock clock_;
  FakeEventLoop loop_{clock_};
  LoopLagGauge lag_;
  FakeChannel channel_;
  bool warm_ = false;
  std::vector<std::unique_ptr<FakeCall>> calls_;
  std::unique_ptr<Dispatcher> dispatcher_;
};

// Predicted: 1.1 x (what runs, and its own) = 22 ms.
TEST_F(DispatcherLagTest, AdmissionTakesTheWayInAndOutOffTheLimit) {
  Send();
  LateBy(3ms);
  const FakeCall& fits = Send(clock_.Now() + 30ms);
  EXPECT_EQ(fits.answers, 0) << fits.status.ToString();
  Finish();
  Finish();
  EXPECT_TRUE(fits.Right());

  Send();
  LateBy(5ms);
  const FakeCall& late = Send(clock_.Now() + 30ms);
  EXPECT_EQ(late.answers, 1);
  EXPECT_EQ(late.status.code(), Code::kOverloaded);
}

TEST_F(DispatcherLagTest, WhatWasLongAgoIsNotHeldAgainstARequest) {
  LateBy(5ms);
  clock_.Advance(policy::LoopLag::kSpan);
  Send();
  const FakeCall& call = Send(clock_.Now() + 30ms);
  EXPECT_EQ(call.answers, 0) << call.status.ToString();
}

// Of 100 ms, 75 have gone when the batch before the last one ends; then that one's 10 ms and its own are left.
class DispatcherLagSplitTest : public DispatcherLagTest,
                               public ::testing::WithParamInterface<int> {};

TEST_P(DispatcherLagSplitTest, WhatWouldComeTooLateForItsClientCostsNoCompute) {
  LateBy(GetParam() * 1ms);
  Send();
  Send();
  const FakeCall& call = Send(clock_.Now() + 100ms);
  ASSERT_EQ(call.answers, 0) << call.status.ToString();
  clock_.Advance(75ms);
  Finish();
  if (GetParam() == 0) {
    EXPECT_EQ(channel_.submitted.size(), 2u);
    Finish();
    Finish();
    EXPECT_TRUE(call.Right());
    return;
  }
  EXPECT_EQ(channel_.submitted.size(), 1u);
  EXPECT_EQ(call.status.code(), Code::kDeadlineExceeded);
}
INSTANTIATE_TEST_SUITE_P(Lags, DispatcherLagSplitTest, ::testing::Values(0, 10));

TEST_F(DispatcherLagTest, HalfOfItsTimeIsLeftToARequest) {
  LateBy(1s);
  const FakeCall& call = Send(clock_.Now() + 30ms);
  EXPECT_EQ(call.answers, 0) << call.status.ToString();
  Finish();
  EXPECT_TRUE(call.Right());
}

// The queue's own limit moves with it, so that nothing is held until it is dropped.
TEST_F(DispatcherLagTest, WhatWaitsLeavesWhenItsAnswerCouldNotBeThereInTime) {
  LateBy(10ms);
  Send();
  Send();
  const FakeCall& call = Send(clock_.Now() + 100ms);
  clock_.Advance(79ms);
  loop_.RunPosted();
  EXPECT_EQ(call.answers, 0);
  clock_.Advance(1ms);
  loop_.RunPosted();
  EXPECT_EQ(call.status.code(), Code::kDeadlineExceeded);
}

}  // namespace
}  // namespace evenkeel
