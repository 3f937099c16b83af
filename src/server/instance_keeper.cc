#include "server/instance_keeper.h"

#include <algorithm>
#include <utility>

namespace evenkeel {
namespace {

constexpr int64_t kPlenty = int64_t{1} << 60;  // bytes

}  // namespace

InstanceKeeper::InstanceKeeper(Options options, EventLoop& loop, const Clock& clock)
    : options_(std::move(options)),
      loop_(loop),
      clock_(clock),
      alarm_(loop.MakeAlarm([this] { Round(); })) {}

void InstanceKeeper::Join(Member* member) {
  members_.push_back(member);
  Ask();
}

void InstanceKeeper::Leave(Member* member) {
  if (std::erase(members_, member) > 0) Ask();
}

void InstanceKeeper::Ask() {
  if (asked_.exchange(true)) return;
  loop_.Post([this] { Round(); });
}

void InstanceKeeper::Close() { alarm_.reset(); }

void InstanceKeeper::Round() {
  asked_.store(false);
  if (alarm_ == nullptr || members_.empty()) return;
  const Time now = clock_.Now();
  std::vector<policy::InstancesView> views;
  views.reserve(members_.size());
  bool work = false;
  for (Member* member : members_) {
    views.push_back(member->Look(now));
    const auto& view = views.back();
    work = work || view.waits || view.starting > 0 || view.ending > 0 ||
           now - view.last_request < kQuietRound;
  }
  const auto plans = policy::PlanInstances(
      views, {options_.cores, options_.free_memory().value_or(kPlenty), options_.headroom_bytes},
      now);
  Time next = now + (work ? kRound : kQuietRound);
  for (size_t i = 0; i < plans.size(); ++i) {
    next = std::min(next, std::max(plans[i].next, now + kRound / 10));
    members_[i]->Follow(plans[i]);
  }
  alarm_->Set(next);
}

}  // namespace evenkeel
