// Batches and a language model on one node: who has which cores, and that the books are never overdrawn.
#include <gtest/gtest.h>

#include <algorithm>
#include <deque>
#include <random>
#include <vector>

#include "batching/node_scheduler.h"
#include "core/fake_event_loop.h"

namespace evenkeel {
namespace {

using namespace std::chrono_literals;

// A model of one instance that always has rows when it is told so.
class Batches final : public NodeScheduler::Member {
 public:
  Batches(NodeScheduler& node, ManualClock& clock, int threads, Duration objective = 50ms)
      : node_(node),
        clock_(clock),
        threads_(threads),
        objective_(objective),
        id_(node.Join(this)) {}
  ~Batches() override { node_.Leave(id_); }

  void Add(int64_t rows) {
    if (waiting_ == 0) oldest_ = clock_.Now();
    waiting_ += rows;
    node_.Arrived(id_, rows, clock_.Now());
    Publish();
    node_.Run();
  }
  void End() {
    running_ = false;
    node_.Ran(id_, DeviceClass::kCpu, 1, took, clock_.Now());
    Publish();
    node_.Run();
  }
  void StartBatch(const NodeScheduler::Start& start) override {
    EXPECT_FALSE(running_);
    running_ = true;
    ++starts;
    started = clock_.Now();
    waiting_ -= start.rows;
    Publish();
  }
  int threads() const { return running_ ? threads_ : 0; }
  int64_t waiting() const { return waiting_; }

  int starts = 0;
  Time started{};
  Duration took = 5ms;

 private:
  void Publish() {
    node_.Publish(id_, [this](NodeScheduler::Snapshot& snapshot) {
      snapshot.objective = objective_;
      snapshot.max_batch = 1;
      snapshot.ids.push_back(0);
      snapshot.instances.push_back({true, threads_, running_ ? 1 : 0, {}});
      if (waiting_ == 0) return;
      policy::LaneView lane;
      lane.waiting_rows = waiting_;
      lane.oldest_arrival = lane.newest_arrival = oldest_;
      lane.max_rows = 1;
      snapshot.lanes.push_back(lane);
    });
  }

  NodeScheduler& node_;
  ManualClock& clock_;
  const int threads_;
  const Duration objective_;
  const int id_;
  bool running_ = false;
  int64_t waiting_ = 0;
  Time oldest_{};
};

// A language model whose worker takes what it is told between steps.
class Language final : public NodeScheduler::StandingMember {
 public:
  Language(NodeScheduler& node, int most)
      : node_(node), most_(most), id_(node.JoinStanding(this)) {}
  ~Language() override { node_.LeaveStanding(id_); }

  void Want(bool wants, Duration step = 10ms) {
    node_.PublishStanding(id_, {.wants = wants, .most = most_, .step = step});
    node_.Run();
  }
  void CoresChanged() override { told_.push_back(node_.TakeCores(id_)); }
  // Between two steps.
  void Step() {
    while (!told_.empty()) {
      threads_ = told_.front();
      told_.pop_front();
      node_.Confirm(id_);
    }
    node_.Run();
  }
  void Die() {
    told_.clear();
    threads_ = 0;
    node_.Forget(id_);
    node_.Run();
  }
  int threads() const { return threads_; }  // of the step that runs
  NodeScheduler::StandingLook Look() const { return node_.LookAtStanding(id_); }

 private:
  NodeScheduler& node_;
  const int most_;
  const int id_;
  std::deque<int> told_;
  int threads_ = 0;
};

class StandingTest : public testing::Test {
 protected:
  std::unique_ptr<NodeScheduler> Make(int cores, std::string_view policy = "auto") {
    return std::make_unique<NodeScheduler>(std::move(policy::MakeNodePolicy(policy)).value(), cores,
                                           false, loop_, clock_);
  }
  ManualClock clock_;
  FakeEventLoop loop_{clock_};
};

TEST_F(StandingTest, AloneItHasAllCoresAndGivesThemBackWhenItRests) {
  const auto node = Make(4);
  Language language(*node, 4);
  EXPECT_EQ(language.Look().granted, 0);
  language.Want(true);
  EXPECT_EQ(language.Look().granted, 4);
  language.Step();
  EXPECT_EQ(language.threads(), 4);
  EXPECT_EQ(node->LoadNow().busy_cores, 4);
  language.Want(false);
  EXPECT_EQ(language.Look().held, 4);  // its worker has not said so
  language.Step();
  EXPECT_EQ(language.Look().held, 0);
  EXPECT_EQ(language.threads(), 0);
}

TEST_F(StandingTest, ABatchStartsOnceAStepHasEndedAndNoLater) {
  const auto node = Make(2);
  Language language(*node, 2);
  Batches batches(*node, clock_, 1);
  language.Want(true);
  language.Step();
  ASSERT_EQ(language.threads(), 2);
  batches.Add(1);
  EXPECT_EQ(batches.starts, 0);  // the step runs on both
  EXPECT_EQ(language.Look().granted, 1);
  language.Step();
  EXPECT_EQ(language.threads(), 1);
  EXPECT_EQ(batches.starts, 1);
  // Work-conserving: with nothing waiting it has both again.
  batches.End();
  language.Step();
  EXPECT_EQ(language.threads(), 2);
}

TEST_F(StandingTest, ALanguageModelThatWakesWaitsForACoreAndIsKeptOne) {
  const auto node = Make(1);
  Language language(*node, 1);
  Batches batches(*node, clock_, 1);
  batches.Add(100);
  ASSERT_EQ(batches.starts, 1);
  language.Want(true);
  EXPECT_EQ(language.Look().granted, 0);
  clock_.Advance(50ms);
  batches.End();
  language.Step();
  EXPECT_EQ(language.threads(), 1);
  EXPECT_EQ(batches.starts, 1);
}

TEST_F(StandingTest, AWorkerThatDiedHoldsNothing) {
  const auto node = Make(1);
  Language language(*node, 1);
  Batches batches(*node, clock_, 1);
  language.Want(true);
  language.Step();
  batches.Add(1);
  EXPECT_EQ(batches.starts, 0);
  language.Die();
  EXPECT_EQ(batches.starts, 1);
}

TEST_F(StandingTest, WhereThePolicyHasNoGateItAlwaysHasItsThreads) {
  const auto node = Make(1, "greedy");
  Language language(*node, 1);
  Batches batches(*node, clock_, 1);
  batches.Add(10);
  language.Want(true);
  EXPECT_EQ(language.Look().granted, 1);
}

TEST_F(StandingTest, SomeCoresAreKeptForBatchesWhoseObjectiveIsShorterThanASteps) {
  const auto node = Make(2);
  Language language(*node, 2);
  Batches batches(*node, clock_, 1, 20ms);
  // 20 rows a second of 5 ms: a tenth of a core.
  for (int i = 0; i < 60; ++i) {
    batches.Add(1);
    batches.End();
    clock_.Advance(50ms);
  }
  language.Want(true, 50ms);
  language.Step();
  EXPECT_EQ(language.threads(), 1);
  language.Want(true, 1ms);
  language.Step();
  EXPECT_EQ(language.threads(), 2);
}

// Whatever comes when: threads of batches and of steps are never more than cores, and both sides get on.
class StandingSoak : public StandingTest,
                     public testing::WithParamInterface<std::tuple<int, int>> {};

TEST_P(StandingSoak, TheCoresAreNeverOverdrawnAndNobodyStarves) {
  const auto [cores, width] = GetParam();
  const auto node = Make(cores);
  Language language(*node, cores), other(*node, cores);
  Batches wide(*node, clock_, width), narrow(*node, clock_, 1);
  std::mt19937 random(7);
  const auto chance = [&](int percent) { return static_cast<int>(random() % 100) < percent; };
  language.Want(true);
  bool other_wants = false;
  double steps = 0;
  Time pause = clock_.Now(), wait = clock_.Now();
  for (int ms = 0; ms < 20'000; ++ms) {
    clock_.Advance(1ms);
    if (chance(60)) wide.Add(1);
    if (chance(20)) narrow.Add(1);
    for (Batches* one : {&wide, &narrow}) {
      if (one->threads() > 0 && clock_.Now() - one->started >= one->took) one->End();
    }
    if (ms % 10 == 0) language.Step();
    if (ms % 15 == 0) other.Step();
    if (ms % 700 == 0) other.Want(other_wants = !other_wants);
    const int used = language.threads() + other.threads() + wide.threads() + narrow.threads();
    ASSERT_LE(used, cores) << "at " << ms << " ms";
    ASSERT_LE(node->LoadNow().busy_cores, cores);
    if (language.threads() > 0) pause = clock_.Now();
    if (wide.threads() > 0 || wide.waiting() == 0) wait = clock_.Now();
    ASSERT_LT(clock_.Now() - pause, 1s) << "the language model starves at " << ms;
    ASSERT_LT(clock_.Now() - wait, 1s) << "batches starve at " << ms;
    steps += language.threads();
  }
  EXPECT_GT(steps, 20'000 * cores * 0.1);
  EXPECT_GT(wide.starts, 300);
  EXPECT_GT(narrow.starts, 300);
}

INSTANTIATE_TEST_SUITE_P(Nodes, StandingSoak,
                         testing::Values(std::tuple{1, 1}, std::tuple{2, 1}, std::tuple{2, 2},
                                         std::tuple{4, 2}, std::tuple{4, 4}, std::tuple{8, 3}));

}  // namespace
}  // namespace evenkeel
