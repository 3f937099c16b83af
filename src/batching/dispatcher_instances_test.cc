// Instances that come and go while a dispatcher serves.
#include <gtest/gtest.h>

#include <map>
#include <memory>
#include <optional>
#include <vector>

#include "batching/dispatcher.h"
#include "batching/fake_call.h"
#include "batching/fake_channel.h"
#include "core/fake_event_loop.h"

namespace evenkeel {
namespace {

using namespace std::chrono_literals;

// Decides as another does, and keeps what it was told of the model.
class Watching final : public policy::NodePolicy {
 public:
  explicit Watching(int* max_batch) : max_batch_(max_batch) {}
  policy::Decision Decide(const policy::NodeView& view, Time now) override {
    *max_batch_ = view.models[0].max_batch;
    return inner_->Decide(view, now);
  }
  std::string_view name() const override { return inner_->name(); }

 private:
  int* const max_batch_;
  const std::unique_ptr<policy::NodePolicy> inner_ = policy::MakeNodePolicy("gated-greedy").value();
};

class DispatcherInstancesTest : public ::testing::Test {
 protected:
  void SetUp() override {
    DispatcherOptions options;
    options.model = "m";
    options.signature = FakeCall::ModelSignature(8);
    options.objective = objective();
    options.input_capacity = 1 << 16;
    options.on_warm = [this](int id, const Status&) { warmed.push_back(id); };
    options.on_starved = [this] { ++starved; };
    options.node = shared_node();
    options.cores = 2;
    dispatcher = std::make_unique<Dispatcher>(std::move(options), loop, clock);
  }
  virtual NodeScheduler* shared_node() { return nullptr; }
  virtual std::optional<Duration> objective() const { return 50ms; }
  void TearDown() override {
    bool drained = false;
    dispatcher->Drain([&] { drained = true; });
    for (int i = 0; i < 100 && !drained; ++i) FinishAll();
    EXPECT_TRUE(drained);
    for (const auto& [id, channel] : channels) dispatcher->Detach(id);
    dispatcher.reset();
  }

  // A worker that has loaded; and warmed.
  void Attach(int id, int threads = 1, int max_rows = 0, DeviceClass device = DeviceClass::kCpu) {
    channels[id] = std::make_unique<FakeChannel>();
    dispatcher->Attach(id, channels[id].get(), threads, max_rows, device);
  }
  void Up(int id, int threads = 1, int max_rows = 0) {
    Attach(id, threads, max_rows);
    while (!channels[id]->submitted.empty()) Finish(id);
  }
  void Gone(int id) {
    dispatcher->Detach(id);
    channels.erase(id);
  }
  void Finish(int id) {
    const auto rows = channels[id]->submitted.front().rows();
    channels[id]->Finish(takes.contains(rows) ? takes[rows] : compute, clock.Now());
    dispatcher->OnChannelReadable(id);
  }
  void FinishAll() {
    for (const auto& [id, channel] : channels) {
      if (!channel->submitted.empty()) Finish(id);
    }
    loop.RunPosted();
  }
  size_t Running(int id) const { return channels.at(id)->submitted.size(); }
  std::unique_ptr<FakeCall> Send(float mark, Time deadline = kNever) {
    auto call = std::make_unique<FakeCall>(std::vector<float>{mark}, clock.Now());
    call->deadline = deadline;
    dispatcher->Infer(call.get());
    return call;
  }

  Duration compute = 1ms;
  std::map<int64_t, Duration> takes;  // of batches of so many rows, where it is not `compute`
  ManualClock clock;
  FakeEventLoop loop{clock};
  int max_batch = 0;  // as the node's policy sees it
  std::map<int, std::unique_ptr<FakeChannel>> channels;
  std::vector<int> warmed;
  int starved = 0;
  std::unique_ptr<Dispatcher> dispatcher;
};

TEST_F(DispatcherInstancesTest, AnIdleInstanceRetiresAtOnceAndGetsNothingMore) {
  Up(0);
  Up(1);
  bool retired = false;
  dispatcher->Retire(0, [&] { retired = true; });
  loop.RunPosted();
  EXPECT_TRUE(retired);
  auto a = Send(1);
  auto b = Send(2);
  EXPECT_EQ(Running(0), 0u);
  while (Running(1) > 0) Finish(1);
  EXPECT_TRUE(a->Right() && b->Right());
}

TEST_F(DispatcherInstancesTest, WhatRunsOnARetiredInstanceIsAnsweredFirst) {
  Up(0);
  auto running = Send(1);
  auto behind = Send(2);  // full batches lie ready; these are two batches
  bool retired = false;
  dispatcher->Retire(0, [&] { retired = true; });
  loop.RunPosted();
  EXPECT_FALSE(retired);
  while (Running(0) > 0) {
    EXPECT_FALSE(retired);
    Finish(0);
    if (Running(0) > 0) loop.RunPosted();
  }
  loop.RunPosted();
  EXPECT_TRUE(retired);
  EXPECT_TRUE(running->Right());
  Gone(0);
  Up(1);
  while (Running(1) > 0) Finish(1);
  EXPECT_TRUE(behind->Right());
}

TEST_F(DispatcherInstancesTest, AnInstanceThatIsBeingWarmedRetiresAfterItsRun) {
  Attach(0);
  ASSERT_EQ(Running(0), 1u);
  bool retired = false;
  dispatcher->Retire(0, [&] { retired = true; });
  loop.RunPosted();
  EXPECT_FALSE(retired);
  Finish(0);
  loop.RunPosted();
  EXPECT_TRUE(retired);
  EXPECT_EQ(Running(0), 0u);
  EXPECT_TRUE(warmed.empty());
}

TEST_F(DispatcherInstancesTest, AWorkerThatDiesWhileItRetiresIsNotToldOfAndCostsNobodyAnAnswer) {
  Up(0);
  auto call = Send(1);
  bool retired = false;
  dispatcher->Retire(0, [&] { retired = true; });
  Gone(0);
  loop.RunPosted();
  EXPECT_FALSE(retired);
  Up(1);
  while (Running(1) > 0) Finish(1);
  EXPECT_TRUE(call->Right());
}

TEST_F(DispatcherInstancesTest, SaysOnceThatSomethingWaitsAndNobodyCouldRunIt) {
  auto a = Send(1);
  auto b = Send(2);
  EXPECT_EQ(starved, 1);
  Attach(0);
  auto c = Send(3);
  EXPECT_EQ(starved, 1);  // one is on its way
  while (Running(0) > 0) Finish(0);
  EXPECT_TRUE(a->Right() && b->Right() && c->Right());
  Gone(0);
  EXPECT_EQ(starved, 1);
  auto d = Send(4);
  EXPECT_EQ(starved, 2);
  Up(1);
  while (Running(1) > 0) Finish(1);
  EXPECT_TRUE(d->Right());
}

TEST_F(DispatcherInstancesTest, SaysItAgainWhenWhatWaitedIsGoneAndNobodyCame) {
  auto late = Send(1, clock.Now() + 20ms);
  EXPECT_EQ(starved, 1);
  clock.Advance(21ms);
  loop.RunPosted();
  ASSERT_EQ(late->answers, 1);
  auto next = Send(2);
  EXPECT_EQ(starved, 2);
  Up(0);
  while (Running(0) > 0) Finish(0);
  EXPECT_TRUE(next->Right());
}

TEST_F(DispatcherInstancesTest, ARetiredInstanceDoesNotCountAsOneThatCouldRunWhatWaits) {
  Up(0);
  auto running = Send(1);
  dispatcher->Retire(0, [] {});
  EXPECT_EQ(starved, 0);
  auto waits = Send(2);
  EXPECT_EQ(starved, 1);
  Finish(0);
  EXPECT_TRUE(running->Right());
  Up(1);
  while (Running(1) > 0) Finish(1);
  EXPECT_TRUE(waits->Right());
}

TEST_F(DispatcherInstancesTest, DeadlinesActWhileNoInstanceIsThere) {
  auto call = Send(1, clock.Now() + 20ms);
  clock.Advance(19ms);
  loop.RunPosted();
  EXPECT_EQ(call->answers, 0);
  clock.Advance(2ms);
  loop.RunPosted();
  EXPECT_EQ(call->answers, 1);
  EXPECT_EQ(call->status.code(), Code::kDeadlineExceeded);
}

TEST_F(DispatcherInstancesTest, ASeedTakesThePlaceOfLiveTimes) {
  Up(0);
  EXPECT_EQ(dispatcher->Stats().times.Estimate(4), 1ms);
  dispatcher->Seed({});
  EXPECT_EQ(dispatcher->Stats().times.Estimate(4), 1ms);
  const std::vector<policy::BatchCurve::Timed> times = {{1, 3ms, 4ms}, {4, 6ms, 7ms}};
  dispatcher->Seed(times);
  EXPECT_EQ(dispatcher->Stats().times.Estimate(4), 6ms);
  EXPECT_EQ(dispatcher->Stats().times.Estimate(8), 12ms);  // what was live of other sizes is gone
}

// A model that names no objective has ten times what a row takes.
class DispatcherClassesTest : public DispatcherInstancesTest {
  std::optional<Duration> objective() const override { return std::nullopt; }
};

TEST_F(DispatcherClassesTest, EachClassHasItsOwnTimesAndOneWithoutInstancesTellsNothing) {
  Up(0);
  const std::vector<policy::BatchCurve::Timed> slow = {{1, 20ms, 20ms}}, fast = {{1, 8ms, 8ms}};
  dispatcher->Seed(slow);
  dispatcher->Seed(fast, DeviceClass::kGpu);
  EXPECT_EQ(dispatcher->Times().Estimate(1), 20ms);
  EXPECT_EQ(dispatcher->Times(DeviceClass::kGpu).Estimate(1), 8ms);
  EXPECT_EQ(dispatcher->objective(), 200ms);
  Attach(1, 0, 0, DeviceClass::kGpu);
  while (!channels[1]->submitted.empty()) Finish(1);
  dispatcher->Seed(fast, DeviceClass::kGpu);
  EXPECT_EQ(dispatcher->objective(), 80ms);
  Gone(1);
  EXPECT_EQ(dispatcher->objective(), 200ms);
}

TEST_F(DispatcherInstancesTest,
       WhoeverWaitsForTheFirstInstanceIsAnsweredAfterTheSmallestSizeIsWarm) {
  compute = 4ms;
  Up(0);
  Gone(0);
  auto call = Send(1);
  Attach(1);
  Finish(1);  // size 1, whose time is known
  ASSERT_EQ(warmed.back(), 1);
  ASSERT_EQ(Running(1), 1u);
  Finish(1);
  EXPECT_TRUE(call->Right());
  // The other sizes follow once nothing waits.
  ASSERT_EQ(Running(1), 1u);
  EXPECT_EQ(channels[1]->submitted.front().rows(), 2);
}

class DispatcherInstancesOfANodeTest : public DispatcherInstancesTest {
 protected:
  NodeScheduler* shared_node() override { return &node_; }
  NodeScheduler node_{std::make_unique<Watching>(&max_batch), 2, false, loop, clock};
};

TEST_F(DispatcherInstancesOfANodeTest, NeverRunsMoreThreadsThanCoresWhateverTheInstances) {
  Up(0, 1);
  Up(1, 1);
  Up(2, 2);
  std::vector<std::unique_ptr<FakeCall>> calls;
  for (int i = 0; i < 200; ++i) calls.push_back(Send(static_cast<float>(i)));
  for (int i = 0; i < 500; ++i) {
    EXPECT_LE(Running(0) + Running(1) + 2 * Running(2), 2u);
    const int id = i % 3;
    if (Running(id) > 0) Finish(id);
  }
  for (const auto& call : calls) EXPECT_TRUE(call->Right());
}

TEST_F(DispatcherInstancesOfANodeTest, TheLargestBatchIsThatOfTheInstancesThereAre) {
  Up(0);
  EXPECT_EQ(max_batch, 8);
  Up(1, 1, 2);
  EXPECT_EQ(max_batch, 8);
  dispatcher->Retire(0, [] {});
  auto call = Send(1);
  EXPECT_EQ(max_batch, 2);
  while (Running(1) > 0) Finish(1);
  EXPECT_TRUE(call->Right());
  Gone(1);
  call = Send(2);
  EXPECT_EQ(max_batch, 2);  // nobody knows better
  Up(2);
  while (Running(2) > 0) Finish(2);
  EXPECT_TRUE(call->Right());
}

class DispatcherUnderAutoTest : public DispatcherInstancesTest {
 protected:
  NodeScheduler* shared_node() override { return &node_; }
  // A first request, by which the policy has looked at the model.
  void Begin() {
    clock.Advance(1s);
    auto call = Send(0);
    while (Running(0) > 0) Finish(0);
    EXPECT_TRUE(call->Right());
  }
  NodeScheduler node_{policy::MakeNodePolicy("auto").value(), 2, false, loop, clock};
};

TEST_F(DispatcherUnderAutoTest, AnIdleInstanceComesBeforeAPlaceBehindABusyOne) {
  takes = {
      {1, 3ms}, {2, 6ms}, {4, 12ms}, {8, 24ms}};  // batching gains nothing: one row is a full batch
  Up(0);
  Up(1);
  Begin();
  auto a = Send(1);
  auto b = Send(2);
  EXPECT_EQ(Running(0), 1u);
  EXPECT_EQ(Running(1), 1u);
  auto c = Send(3);
  EXPECT_EQ(Running(0) + Running(1), 3u);  // now there is none: it lies ready
  for (int i = 0; i < 4; ++i) FinishAll();
  EXPECT_TRUE(a->Right() && b->Right() && c->Right());
}

TEST_F(DispatcherUnderAutoTest, RowsBetweenTwoWarmSizesAreCutWhereThatIsSoonerDone) {
  takes = {{1, 5ms}, {2, 5200us}, {4, 6ms}, {8, 11200us}};
  Up(0);
  Begin();
  std::vector<std::unique_ptr<FakeCall>> calls;
  for (int i = 0; i < 6; ++i) calls.push_back(Send(static_cast<float>(i)));
  ASSERT_EQ(Running(0), 1u);  // the first one alone; five wait
  Finish(0);
  ASSERT_EQ(Running(0), 1u);
  EXPECT_EQ(channels[0]->submitted.front().rows(), 4);  // 6 + 5 ms, instead of 11.2 ms for eight
  Finish(0);
  ASSERT_EQ(Running(0), 1u);
  EXPECT_EQ(channels[0]->submitted.front().rows(), 1);
  Finish(0);
  for (const auto& call : calls) EXPECT_TRUE(call->Right());
}

TEST_F(DispatcherUnderAutoTest, RowsBetweenTwoWarmSizesStayTogetherWhereThatIsSooner) {
  takes = {{1, 5ms}, {2, 5200us}, {4, 6ms}, {8, 8ms}};
  Up(0);
  Begin();
  std::vector<std::unique_ptr<FakeCall>> calls;
  for (int i = 0; i < 6; ++i) calls.push_back(Send(static_cast<float>(i)));
  Finish(0);
  ASSERT_EQ(Running(0), 1u);
  EXPECT_EQ(channels[0]->submitted.front().rows(), 8);
  Finish(0);
  for (const auto& call : calls) EXPECT_TRUE(call->Right());
}

}  // namespace
}  // namespace evenkeel
