#include "batching/node_scheduler.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <mutex>
#include <thread>
#include <vector>

#include "core/fake_event_loop.h"

namespace evenkeel {
namespace {

using namespace std::chrono_literals;

// Has rows waiting and `instances` instances of `threads` threads; starts what it is told.
class Model final : public NodeScheduler::Member {
 public:
  Model(NodeScheduler& node, ManualClock& clock, int instances, int threads)
      : node_(node), clock_(clock), running_(static_cast<size_t>(instances)), threads_(threads) {
    id_ = node.Join(this);
  }
  ~Model() override { node_.Leave(id_); }

  void Add(int64_t rows) {
    {
      const std::lock_guard lock(mutex_);
      if (waiting_ == 0) oldest_ = clock_.Now();
      waiting_ += rows;
      node_.Arrived(id_, rows, clock_.Now());
      Publish();
    }
    node_.Run();
  }
  void End(size_t instance) {
    {
      const std::lock_guard lock(mutex_);
      if (running_[instance] && in_use != nullptr) in_use->fetch_sub(threads_);
      running_[instance] = false;
      Publish();
    }
    node_.Run();
  }
  void StartBatch(const NodeScheduler::Start& start) override {
    const std::lock_guard lock(mutex_);
    ++starts;
    EXPECT_FALSE(running_[static_cast<size_t>(start.instance)]);
    EXPECT_LE(start.rows, waiting_);
    running_[static_cast<size_t>(start.instance)] = true;
    waiting_ -= start.rows;
    if (in_use != nullptr) {
      EXPECT_LE(in_use->fetch_add(threads_) + threads_, node_.cores());
    }
    Publish();
  }
  int running() const {
    return static_cast<int>(std::count(running_.begin(), running_.end(), true));
  }
  int id() const { return id_; }
  int64_t waiting() const { return waiting_; }

  int starts = 0;
  Duration objective = 50ms;
  std::atomic<int>* in_use = nullptr;  // threads of all models, if they are to be counted

 private:
  void Publish() {
    node_.Publish(id_, [this](NodeScheduler::Snapshot& snapshot) {
      snapshot.objective = objective;
      snapshot.max_batch = 8;
      for (size_t i = 0; i < running_.size(); ++i) {
        snapshot.ids.push_back(static_cast<int>(i));
        snapshot.instances.push_back({true, threads_, running_[i] ? 1 : 0, {}});
      }
      if (waiting_ == 0) return;
      policy::LaneView lane;
      lane.waiting_rows = waiting_;
      lane.oldest_arrival = lane.newest_arrival = oldest_;
      lane.max_rows = 8;
      snapshot.lanes.push_back(lane);
    });
  }

  NodeScheduler& node_;
  ManualClock& clock_;
  std::mutex mutex_;
  std::vector<bool> running_;
  const int threads_;
  int64_t waiting_ = 0;
  Time oldest_{};
  int id_ = -1;
};

class NodeSchedulerTest : public testing::Test {
 protected:
  std::unique_ptr<NodeScheduler> Make(std::string_view policy, int cores) {
    return std::make_unique<NodeScheduler>(std::move(policy::MakeNodePolicy(policy)).value(), cores,
                                           false, loop_, clock_);
  }
  ManualClock clock_;
  FakeEventLoop loop_{clock_};
};

TEST_F(NodeSchedulerTest, NeverRunsMoreThreadsThanCores) {
  const auto node = Make("gated-greedy", 2);
  Model a(*node, clock_, 2, 1), b(*node, clock_, 2, 1), wide(*node, clock_, 1, 2);
  a.Add(20);
  b.Add(20);
  wide.Add(20);
  EXPECT_EQ(a.running() + b.running() + 2 * wide.running(), 2);
  a.End(0);
  EXPECT_EQ(a.running() + b.running() + 2 * wide.running(), 2);
}

TEST_F(NodeSchedulerTest, ACoreThatComesFreeGoesToTheModelThatWaitsLongestForItsObjective) {
  const auto node = Make("gated-greedy", 1);
  Model slow(*node, clock_, 1, 1), fast(*node, clock_, 1, 1);
  slow.objective = 1s;
  fast.objective = 10ms;
  slow.Add(1);
  ASSERT_EQ(slow.running(), 1);
  slow.Add(8);
  clock_.Advance(5ms);
  fast.Add(1);
  clock_.Advance(1ms);
  slow.End(0);
  EXPECT_EQ(fast.running(), 1);
  EXPECT_EQ(slow.running(), 0);
  fast.End(0);
  EXPECT_EQ(slow.running(), 1);
}

TEST_F(NodeSchedulerTest, LoadIsWhatRunsAndWhatTheForecastKeepsBusy) {
  const auto node = Make("gated-greedy", 4);
  Model a(*node, clock_, 2, 1), wide(*node, clock_, 1, 2);
  EXPECT_EQ(node->LoadNow().busy_cores, 0);
  EXPECT_EQ(node->LoadNow().forecast_cores, 0);
  wide.Add(8);
  EXPECT_EQ(node->LoadNow().busy_cores, 2);
  a.Add(8);
  EXPECT_EQ(node->LoadNow().busy_cores, 2 + a.running());
  // 100 rows a second on two threads, one by one in 4 ms: 0.8 cores.
  node->Ran(wide.id(), DeviceClass::kCpu, 1, 4ms, clock_.Now());
  for (int i = 0; i < 400; ++i) {
    clock_.Advance(10ms);
    node->Arrived(wide.id(), 1, clock_.Now());
  }
  const double forecast = node->LoadNow().forecast_cores;
  EXPECT_NEAR(forecast, 0.8, 0.1);
}

TEST_F(NodeSchedulerTest, TheOutlookTellsBothBoundsOfTheWindow) {
  const auto node = Make("method", 1);
  Model model(*node, clock_, 1, 1);
  for (int i = 0; i < 8; ++i) node->Ran(model.id(), DeviceClass::kCpu, 8, 10ms, clock_.Now());
  node->SetBest(model.id(), 8, 10ms);
  // A window has a right bound beyond what waits only if more is forecast.
  for (int i = 0; i < 50; ++i) {
    node->Arrived(model.id(), 4, clock_.Now());
    clock_.Advance(10ms);
  }
  model.Add(1);
  clock_.Advance(1ms);
  const auto outlook = node->OutlookOf(model.id());
  ASSERT_EQ(model.waiting(), 1);
  EXPECT_EQ(outlook.left_age, 1ms);
  EXPECT_GE(outlook.window.right_rows, 1);
  EXPECT_GT(outlook.window.right, outlook.window.left);
  EXPECT_LE(outlook.window.right - outlook.window.left, 10ms);
}

// Has an instance on a core and one on an accelerator.
class BothClasses final : public NodeScheduler::Member {
 public:
  explicit BothClasses(NodeScheduler& node) : node_(node), id_(node.Join(this)) {}
  ~BothClasses() override { node_.Leave(id_); }
  void Wait(int64_t rows, Time since) {
    node_.Publish(id_, [&](NodeScheduler::Snapshot& snapshot) {
      snapshot.objective = 100ms;
      snapshot.device = DeviceClass::kAuto;
      snapshot.max_batch = snapshot.device_max_batch = 8;
      snapshot.ids = {7, 9};
      snapshot.instances.resize(2);
      snapshot.instances[1].threads = 0;
      snapshot.instances[1].device = DeviceClass::kGpu;
      policy::LaneView lane;
      lane.waiting_rows = rows;
      lane.oldest_arrival = lane.newest_arrival = since;
      lane.max_rows = 8;
      snapshot.lanes.push_back(lane);
    });
    node_.Run();
  }
  void StartBatch(const NodeScheduler::Start& start) override {
    started.push_back(start.instance);
    node_.Publish(id_, [](NodeScheduler::Snapshot&) {});
  }
  int id() const { return id_; }
  std::vector<int> started;

 private:
  NodeScheduler& node_;
  int id_;
};

TEST_F(NodeSchedulerTest, EachClassHasItsOwnTimes) {
  const auto node = Make("auto", 1);
  BothClasses model(*node), other(*node);
  for (int rows = 1; rows <= 8; rows *= 2) {
    node->Ran(model.id(), DeviceClass::kCpu, rows, rows * Duration(1ms), clock_.Now());
    node->Ran(model.id(), DeviceClass::kGpu, rows, 500us + rows * Duration(50us), clock_.Now());
    node->Ran(other.id(), DeviceClass::kCpu, rows, rows * Duration(10us), clock_.Now());
    node->Ran(other.id(), DeviceClass::kGpu, rows, 500us + rows * Duration(50us), clock_.Now());
  }
  model.Wait(1, clock_.Now());
  clock_.Advance(1s);  // the policy looks twice a second
  model.started.clear();
  model.Wait(1, clock_.Now());
  EXPECT_EQ(model.started, std::vector<int>{9});
  EXPECT_TRUE(node->OutlookOf(model.id()).window.device_first);
  EXPECT_GE(node->Window(model.id()).device_knee, 7);  // within 5 % of 8 rows
  EXPECT_EQ(node->Window(model.id()).knee, 1);
  other.Wait(1, clock_.Now());
  clock_.Advance(1s);
  other.started.clear();
  other.Wait(1, clock_.Now());
  EXPECT_EQ(other.started, std::vector<int>{7});
}

TEST_F(NodeSchedulerTest, AModelThatLeftIsNotCalledAndHoldsNoCore) {
  const auto node = Make("gated-greedy", 1);
  Model stays(*node, clock_, 1, 1);
  {
    Model gone(*node, clock_, 1, 1);
    gone.Add(1);
    ASSERT_EQ(gone.running(), 1);
    stays.Add(1);
    EXPECT_EQ(stays.running(), 0);
  }
  node->Run();
  EXPECT_EQ(stays.running(), 1);
  Model next(*node, clock_, 1, 1);
  EXPECT_NE(next.id(), stays.id());
}

TEST_F(NodeSchedulerTest, OneIsAloneWhileNoOtherWaitsOrRuns) {
  const auto node = Make("gated-greedy", 2);
  Model a(*node, clock_, 1, 1), b(*node, clock_, 1, 1);
  a.Add(1);
  EXPECT_TRUE(node->Alone(a.id()));
  EXPECT_FALSE(node->Alone(b.id()));
  b.Add(1);
  EXPECT_FALSE(node->Alone(a.id()));
}

TEST_F(NodeSchedulerTest, ThreadsThatAskAtOnceNeverGetOneCoreTwice) {
  const auto node = Make("gated-greedy", 2);
  Model a(*node, clock_, 2, 1), b(*node, clock_, 2, 1);
  std::atomic<int> in_use{0};
  a.in_use = b.in_use = &in_use;
  std::vector<std::thread> threads;
  for (Model* model : {&a, &b}) {
    for (size_t t = 0; t < 2; ++t) {
      threads.emplace_back([model, t] {
        for (int i = 0; i < 2000; ++i) {
          model->Add(1);
          model->End(t);
        }
      });
    }
  }
  for (std::thread& thread : threads) thread.join();
  for (int i = 0; i < 2000 && a.waiting() + b.waiting() > 0; ++i) {
    for (Model* model : {&a, &b}) {
      model->End(0);
      model->End(1);
    }
  }
  EXPECT_EQ(a.waiting() + b.waiting(), 0);
  EXPECT_GT(a.starts, 0);
  EXPECT_GT(b.starts, 0);
}

}  // namespace
}  // namespace evenkeel
