#include "net/lag_probe.h"

#include <gtest/gtest.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <atomic>
#include <future>
#include <utility>
#include <vector>

#include "core/fake_event_loop.h"
#include "net/io_loop.h"

namespace evenkeel {
namespace {

using namespace std::chrono_literals;

class LagProbeTest : public testing::Test {
 protected:
  // The next alarm rings so long after its time.
  void RingAfter(Duration late) {
    clock_.Advance(loop_.NextAlarm() - clock_.Now() + late);
    loop_.RunPosted();
  }

  ManualClock clock_;
  FakeEventLoop loop_{clock_};
  std::vector<Duration> seen_;
  LagProbe probe_{loop_, clock_, [this](Time now, Duration late) {
                    EXPECT_EQ(now, clock_.Now());
                    seen_.push_back(late);
                  }};
};

TEST_F(LagProbeTest, TellsHowMuchAfterItsTimeTheAlarmRang) {
  for (const Duration late : {Duration(3ms), Duration(LagProbe::kTimerSlack), Duration(7ms)}) {
    probe_.Handled();
    RingAfter(late);
  }
  EXPECT_EQ(seen_,
            (std::vector<Duration>{3ms - LagProbe::kTimerSlack, 0ns, 7ms - LagProbe::kTimerSlack}));
}

TEST_F(LagProbeTest, WithinTheTimersSlackIsNotLate) {
  probe_.Handled();
  RingAfter(10us);
  EXPECT_EQ(seen_, (std::vector<Duration>{0ns}));
}

TEST_F(LagProbeTest, ALoopAtRestHasNoAlarm) {
  EXPECT_EQ(loop_.NextAlarm(), kNever);
  probe_.Handled();
  probe_.Handled();
  RingAfter(1ms);
  EXPECT_EQ(seen_.size(), 1u);
  EXPECT_EQ(loop_.NextAlarm(), kNever) << "nothing came since";
  probe_.Handled();
  EXPECT_NE(loop_.NextAlarm(), kNever);
}

TEST_F(LagProbeTest, AlarmsFallInStepWithNothing) {
  Duration least = 1h, most{};
  for (int i = 0; i < 200; ++i) {
    probe_.Handled();
    const Duration ahead = loop_.NextAlarm() - clock_.Now();
    least = std::min(least, ahead);
    most = std::max(most, ahead);
    RingAfter({});
  }
  EXPECT_GE(least, LagProbe::kShortest);
  EXPECT_LE(most, LagProbe::kLongest);
  EXPECT_GT(most - least, 5ms);
}

// A turn that takes long keeps what comes meanwhile waiting.
TEST(LagProbeLoopTest, ARealLoopThatIsHeldUpIsSeenLate) {
  auto made = IoLoop::Create("lag");
  ASSERT_TRUE(made.ok());
  std::promise<Duration> first;
  std::atomic<int> looks{0};
  bool hold = false;
  const int fd = ::eventfd(1, EFD_CLOEXEC | EFD_NONBLOCK);
  ASSERT_GE(fd, 0);
  {
    const std::unique_ptr<IoLoop> loop = std::move(*made);
    ProbeLag(*loop, [&](Time, Duration late) {
      if (looks.fetch_add(1) == 0) first.set_value(late);
    });
    // After the probe's hook has set the alarm, in the same turn: however slow the machine is, it can't ring before.
    loop->AtTurnEnd([&hold] {
      if (!std::exchange(hold, false)) return;
      const Time end = SteadyClock::Instance().Now() + 60ms;
      while (SteadyClock::Instance().Now() < end) {
      }
    });
    loop->Watch(fd, [&] {
      uint64_t count = 0;
      EXPECT_EQ(::read(fd, &count, sizeof count), static_cast<ssize_t>(sizeof count));
      hold = true;
    });
    loop->Start();
    EXPECT_GT(first.get_future().get(), 60ms - LagProbe::kLongest - 5ms);
    loop->Unwatch(fd);
  }
  EXPECT_EQ(looks.load(), 1) << "nothing came after the one event";
  ::close(fd);
}

}  // namespace
}  // namespace evenkeel
