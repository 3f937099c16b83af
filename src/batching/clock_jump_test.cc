// A clock that jumps ahead (a machine that slept, a virtual machine that was paused): dispatchers and every policy go on as if it were
// that late. A monotonic clock never goes back.
#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <vector>

#include "batching/dispatcher.h"
#include "batching/fake_channel.h"
#include "batching/node_scheduler.h"
#include "core/fake_event_loop.h"

namespace evenkeel {
namespace {

using namespace std::chrono_literals;

struct Call final : InferCall {
  Call(const Clock& clock_now, Time until) : clock(clock_now) {
    inputs.push_back({0, DataType::kFp32, Shape{1, 1}, std::as_bytes(std::span(&value, 1))});
    arrived = clock.Now();
    deadline = until;
  }
  void Done(const Status& s, std::span<const TensorView>, const Timings&) override {
    ++answers;
    status = s;
    took = clock.Now() - arrived;
  }
  const Clock& clock;
  float value = 1;
  int answers = 0;
  Status status;
  Duration took{};
};

class ClockJumpTest : public testing::TestWithParam<std::string> {
 protected:
  static constexpr Duration kT = 2ms;

  void SetUp() override {
    node_ = std::make_unique<NodeScheduler>(std::move(policy::MakeNodePolicy(GetParam())).value(),
                                            1, /*save_power=*/true, loop_, clock_);
    for (size_t i = 0; i < 2; ++i) {
      DispatcherOptions options;
      options.model = "m" + std::to_string(i);
      options.signature.inputs = {{"x", DataType::kFp32, Shape{kDynamic, 1}, {}, {}}};
      options.signature.outputs = {{"y", DataType::kFp32, Shape{kDynamic, 1}, {}, {}}};
      options.signature.batched = true;
      options.signature.max_batch = 8;
      options.objective = 50ms;
      options.input_capacity = 1 << 16;
      options.node = node_.get();
      options.on_hang = [this](int) { ++hung_; };
      models_.push_back(std::make_unique<Dispatcher>(std::move(options), loop_, clock_));
      channels_.push_back(std::make_unique<FakeChannel>());
      models_[i]->Attach(0, channels_[i].get());
      while (!channels_[i]->submitted.empty()) Finish(i);
    }
  }
  void TearDown() override {
    for (size_t i = 0; i < models_.size(); ++i) {
      bool drained = false;
      models_[i]->Drain([&drained] { drained = true; });
      Settle();
      EXPECT_TRUE(drained);
      models_[i]->Detach(0);
    }
    models_.clear();
    for (const auto& call : calls_) EXPECT_EQ(call->answers, 1);
  }

  void Finish(size_t i) {
    channels_[i]->Finish(kT, clock_.Now());
    models_[i]->OnChannelReadable(0);
  }
  Call& Send(size_t i, Time deadline = kNever) {
    calls_.push_back(std::make_unique<Call>(clock_, deadline));
    models_[i]->Infer(calls_.back().get());
    return *calls_.back();
  }
  void Jump(Duration by) {
    clock_.Advance(by);
    loop_.RunPosted();
  }
  // Lets time pass until nothing runs and no alarm is near.
  void Settle() {
    for (int i = 0; i < 1000; ++i) {
      bool any = false;
      for (size_t m = 0; m < models_.size(); ++m) {
        if (channels_[m]->submitted.empty()) continue;
        any = true;
        clock_.Advance(kT);
        Finish(m);
      }
      loop_.RunPosted();
      if (any) continue;
      const Time next = loop_.NextAlarm();
      if (next > clock_.Now() + 1s) return;
      clock_.Advance(next - clock_.Now());
      loop_.RunPosted();
    }
    FAIL() << "it never comes to rest";
  }
  // Some traffic, so that there is a forecast.
  void Flow(int requests) {
    for (int i = 0; i < requests; ++i) {
      Send(static_cast<size_t>(i % 2));
      clock_.Advance(1ms);
      loop_.RunPosted();
      for (size_t m = 0; m < 2; ++m) {
        if (!channels_[m]->submitted.empty()) Finish(m);
      }
    }
  }

  ManualClock clock_;
  FakeEventLoop loop_{clock_};
  std::unique_ptr<NodeScheduler> node_;
  std::vector<std::unique_ptr<FakeChannel>> channels_;
  std::vector<std::unique_ptr<Dispatcher>> models_;
  std::vector<std::unique_ptr<Call>> calls_;
  int hung_ = 0;
};

TEST_P(ClockJumpTest, WhatWaitsIsServedOrExpiredAndTheNextRequestIsServedAtOnce) {
  Flow(400);
  Settle();
  // One runs, and others wait behind it or for company.
  for (int i = 0; i < 3; ++i) Send(0);
  Call& urgent = Send(1, clock_.Now() + 30ms);
  for (int jump = 0; jump < 3; ++jump) {
    Jump(1h);
    Settle();
    for (const auto& call : calls_) {
      ASSERT_EQ(call->answers, 1);
      ASSERT_TRUE(call->status.ok() ||
                  (call.get() == &urgent && call->status.code() == Code::kDeadlineExceeded))
          << call->status.ToString();
    }
    Call& next = Send(static_cast<size_t>(jump % 2));
    Settle();
    EXPECT_TRUE(next.status.ok());
    EXPECT_LE(next.took, 10ms) << "held for company that the time before the jump foretold";
  }
}

TEST_P(ClockJumpTest, TheForecastOfTheTimeBeforeIsForgotten) {
  Flow(2000);
  Settle();
  Jump(1h);
  for (size_t m = 0; m < 2; ++m) {
    const auto outlook = node_->OutlookOf(static_cast<int>(m));
    for (const auto& forecast : outlook.forecasts) {
      if (forecast.interval > 1s) continue;
      EXPECT_LT(forecast.next_rows, 1) << "of " << Seconds(forecast.interval) << " s";
    }
  }
  Flow(2000);  // and it learns anew
  const auto outlook = node_->OutlookOf(0);
  EXPECT_NEAR(outlook.forecasts[0].next_rows / Seconds(outlook.forecasts[0].interval), 500, 400);
}

// A batch that ran while the clock jumped has run for too long, as far as anybody can tell: the owner is told, once, and answers stand.
TEST_P(ClockJumpTest, ABatchInFlightIsReportedAsHungAndItsAnswerStillCounts) {
  Call& call = Send(0);
  Settle();  // policies that wait have started it by now
  Call& second = Send(0);
  for (int i = 0; i < 200 && channels_[0]->submitted.empty(); ++i) Jump(1ms);
  ASSERT_FALSE(channels_[0]->submitted.empty());
  Jump(1h);
  EXPECT_EQ(hung_, 1);
  Finish(0);
  EXPECT_TRUE(call.status.ok());
  EXPECT_TRUE(second.answers == 1 && second.status.ok());
}

INSTANTIATE_TEST_SUITE_P(Policies, ClockJumpTest,
                         testing::Values("auto", "method", "gated-greedy", "greedy", "none"),
                         [](const auto& one) {
                           std::string name = one.param;
                           std::erase(name, '-');
                           return name;
                         });

}  // namespace
}  // namespace evenkeel
