#include "net/lag_probe.h"

#include <algorithm>
#include <utility>

#include "net/io_loop.h"

namespace evenkeel {

LagProbe::LagProbe(EventLoop& loop, const Clock& clock, Sink sink)
    : clock_(clock), sink_(std::move(sink)), alarm_(loop.MakeAlarm([this] { OnTime(); })) {}

void LagProbe::Handled() {
  if (due_ != kNever) return;
  std::uniform_int_distribution<int64_t> ahead(kShortest.count(), kLongest.count());
  due_ = clock_.Now() + Duration(ahead(random_));
  alarm_->Set(due_);
}

void LagProbe::OnTime() {
  const Time now = clock_.Now();
  const Duration late = std::max(now - std::exchange(due_, kNever) - kTimerSlack, Duration::zero());
  sink_(now, late);
}

void ProbeLag(IoLoop& loop, LagProbe::Sink sink) {
  // Shared since a hook can be copied; the loop's hooks are its only owner, and go while the loop is whole.
  auto probe = std::make_shared<LagProbe>(loop, SteadyClock::Instance(), std::move(sink));
  loop.AtTurnEnd([&loop, probe = std::move(probe), seen = loop.events_handled()]() mutable {
    if (std::exchange(seen, loop.events_handled()) != loop.events_handled()) probe->Handled();
  });
}

}  // namespace evenkeel
