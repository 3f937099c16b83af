#include "server/instance_keeper.h"

#include <gtest/gtest.h>

#include "core/fake_event_loop.h"

namespace evenkeel {
namespace {

using namespace std::chrono_literals;

constexpr int64_t kMiB = int64_t{1} << 20;

// Does at once what it is told.
class FakeModel final : public InstanceKeeper::Member {
 public:
  policy::InstancesView Look(Time now) override {
    ++looks;
    view.up = told.wanted;
    if (view.waits) view.last_request = now;
    return view;
  }
  void Follow(const policy::InstancesPlan& plan) override { told = plan; }

  policy::InstancesView view;
  policy::InstancesPlan told;
  int looks = 0;
};

class InstanceKeeperTest : public ::testing::Test {
 protected:
  InstanceKeeperTest() { model.view.keep_alive = 10s; }
  // Time passes in small steps, so that alarms ring when they are due.
  void Pass(Duration time) {
    for (Duration gone{}; gone < time; gone += 10ms) {
      clock.Advance(10ms);
      loop.RunPosted();
    }
  }

  ManualClock clock;
  FakeEventLoop loop{clock};
  std::optional<int64_t> free_bytes = 4096 * kMiB;
  InstanceKeeper keeper{{2, 256 * kMiB, [this] { return free_bytes; }}, loop, clock};
  FakeModel model;
};

TEST_F(InstanceKeeperTest, AsksInTheNextTurnThenTwiceASecondWhileThereIsWork) {
  model.view.waits = true;
  keeper.Join(&model);
  EXPECT_EQ(model.looks, 0);
  loop.RunPosted();
  EXPECT_EQ(model.looks, 1);
  EXPECT_EQ(model.told.wanted, 1);
  Pass(5s);
  EXPECT_NEAR(model.looks, 11, 1);
  model.view.waits = false;
  Pass(5s);
  model.looks = 0;
  Pass(10s);
  EXPECT_NEAR(model.looks, 5, 1);
  keeper.Leave(&model);
  model.looks = 0;
  Pass(10s);
  EXPECT_EQ(model.looks, 0);
}

TEST_F(InstanceKeeperTest, ManyQuestionsAtOnceAreOneRound) {
  keeper.Join(&model);
  for (int i = 0; i < 10; ++i) keeper.Ask();
  loop.RunPosted();
  EXPECT_EQ(model.looks, 1);
  keeper.Leave(&model);
}

TEST_F(InstanceKeeperTest, EndsTheLastInstanceWhenItsKeepAliveEndsAndStartsOneForWhatWaits) {
  model.view.min_instances = 0;
  model.view.since = clock.Now();
  keeper.Join(&model);
  loop.RunPosted();
  EXPECT_EQ(model.told.wanted, 1);
  Pass(9900ms);
  EXPECT_EQ(model.told.wanted, 1);
  Pass(200ms);
  EXPECT_EQ(model.told.wanted, 0);
  model.view.waits = true;
  keeper.Ask();
  loop.RunPosted();
  EXPECT_EQ(model.told.wanted, 1);
  keeper.Leave(&model);
}

TEST_F(InstanceKeeperTest, KeepsTheHeadroomFree) {
  model.view.memory_bytes = 500 * kMiB;
  model.view.waits = true;
  free_bytes = 700 * kMiB;
  keeper.Join(&model);
  loop.RunPosted();
  EXPECT_EQ(model.told.wanted, 0);
  EXPECT_TRUE(model.told.no_room);
  free_bytes = 800 * kMiB;
  Pass(1s);
  EXPECT_EQ(model.told.wanted, 1);
  keeper.Leave(&model);
}

TEST_F(InstanceKeeperTest, MemoryThatIsNotKnownEndsAndRefusesNothing) {
  model.view.memory_bytes = 500 * kMiB;
  model.view.since = clock.Now();
  free_bytes.reset();
  keeper.Join(&model);
  loop.RunPosted();
  EXPECT_EQ(model.told.wanted, 1);
  Pass(5s);
  EXPECT_EQ(model.told.wanted, 1);
  keeper.Leave(&model);
}

}  // namespace
}  // namespace evenkeel
