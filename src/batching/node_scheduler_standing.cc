// The cores that language models hold: claims, what they were told, and what batches want of it.
#include <algorithm>
#include <cmath>
#include <deque>

#include "batching/node_scheduler.h"
#include "batching/policy/gate.h"
#include "batching/standing_record.h"
#include "core/check.h"

namespace evenkeel {
namespace {

// Steps that take longer than this part of the batches' shortest objective would make those wait too long for a core: some are kept for them.
constexpr double kKeptBeyond = 0.25;

int ThreadsOf(const policy::InstanceView& instance, int cores) {
  return std::clamp(instance.threads, 0, cores);
}

}  // namespace

int NodeScheduler::JoinStanding(StandingMember* member) {
  const std::lock_guard lock(mutex_);
  auto free =
      std::ranges::find_if(standing_, [](const auto& one) { return one->member == nullptr; });
  if (free == standing_.end()) free = standing_.insert(free, std::make_unique<Standing>());
  **free = Standing();
  (*free)->member = member;
  return static_cast<int>(free - standing_.begin());
}

void NodeScheduler::LeaveStanding(int id) {
  {
    std::unique_lock lock(mutex_);
    Standing& standing = *standing_[static_cast<size_t>(id)];
    called_.wait(lock, [&] { return standing.calls == 0; });
    standing = Standing();
  }
  Run();
}

int NodeScheduler::StandingMembers() const {
  return static_cast<int>(
      std::ranges::count_if(standing_, [](const auto& one) { return one->member != nullptr; }));
}

void NodeScheduler::PublishStanding(int id, const StandingNeed& need) {
  EK_CHECK(need.most >= 1);
  const std::lock_guard lock(mutex_);
  standing_[static_cast<size_t>(id)]->need = need;
}

int NodeScheduler::TakeCores(int id) {
  const std::lock_guard lock(mutex_);
  Standing& standing = *standing_[static_cast<size_t>(id)];
  standing.told.push_back(standing.granted);
  return standing.granted;
}

void NodeScheduler::Confirm(int id) {
  const std::lock_guard lock(mutex_);
  Standing& standing = *standing_[static_cast<size_t>(id)];
  if (standing.told.empty()) return;
  standing.confirmed = standing.told.front();
  standing.told.pop_front();
}

void NodeScheduler::Forget(int id) {
  const std::lock_guard lock(mutex_);
  Standing& standing = *standing_[static_cast<size_t>(id)];
  standing.told.clear();
  standing.confirmed = standing.granted = standing.target = 0;
  standing.need.wants = false;
}

NodeScheduler::StandingLook NodeScheduler::LookAtStanding(int id) const {
  const std::lock_guard lock(mutex_);
  const Standing& standing = *standing_[static_cast<size_t>(id)];
  return {standing.granted, standing.held(), shares_.entitled()};
}

bool NodeScheduler::StandingBusy() const {
  const std::lock_guard lock(mutex_);
  return StandingCoresNow() > 0;
}

int NodeScheduler::HeldCores() const {
  int held = 0;
  for (const auto& standing : standing_) held += standing->held();
  return held;
}

int NodeScheduler::StandingCoresNow() const {
  int cores = 0;
  for (const auto& standing : standing_) cores += std::max(standing->held(), standing->target);
  return std::min(cores, cores_);
}

// What batches want of the cores now, beside what is held here.
policy::StandingView NodeScheduler::StandingViewNow(Time now,
                                                    std::vector<policy::StandingClaim>* claims) {
  LookAtBatches(now);
  policy::StandingView view;
  view.cores = cores_;
  view.batch_weight = std::max(1, batch_load_.models);
  const int in_use = policy::ThreadsInUse({.models = views_, .cores = cores_});
  const int free = cores_ - in_use;
  int pressing = 0;
  for (const policy::ModelView& model : views_) {
    if (model.device == DeviceClass::kGpu || policy::NextLane(model) < 0) continue;
    int narrowest = 0;
    for (const policy::InstanceView& one : model.instances) {
      const int threads = ThreadsOf(one, cores_);
      if (!one.usable || one.in_flight > 0 || threads == 0) continue;
      narrowest = narrowest == 0 ? threads : std::min(narrowest, threads);
    }
    // What would not fit without the language models either does not wait for them. What its window holds back is let keep its cores: to
    // take them for a step would only have it wait for that step's end.
    if (narrowest == 0 || narrowest > free) continue;
    view.pressed = true;
    view.widest = std::max(view.widest, narrowest);
    pressing += narrowest;
  }
  Duration step{};
  for (const auto& standing : standing_) {
    if (standing->need.wants) step = std::max(step, standing->need.step);
  }
  const bool keeps =
      batch_load_.models > 0 && Seconds(step) > kKeptBeyond * Seconds(batch_load_.shortest);
  const int kept = keeps ? std::max(1, static_cast<int>(std::ceil(batch_load_.cores))) : 0;
  view.batch_cores = std::clamp(std::max(in_use + pressing, kept), 0, cores_);
  for (const auto& standing : standing_) {
    claims->push_back({.wants = standing->member != nullptr && standing->need.wants,
                       .most = std::clamp(standing->need.most, 1, cores_),
                       .step = standing->need.step,
                       .held = standing->held()});
  }
  view.claims = *claims;
  return view;
}

bool NodeScheduler::ShareStanding(Time now, std::vector<Standing*>* changed) {
  // Nobody wants or has anything, and that was seen before.
  const bool wanted =
      std::ranges::any_of(standing_, [](const auto& one) { return one->need.wants; });
  if (!wanted && StandingCoresNow() == 0 && shares_.entitled() == 0) return false;
  const bool gated = policy_->name() == "auto" || policy_->name() == "gated-greedy";
  std::vector<policy::StandingClaim> claims;
  const policy::StandingView view = StandingViewNow(now, &claims);
  const std::vector<int> targets = shares_.Targets(view, now);
  const int before = StandingCoresNow();
  for (size_t i = 0; i < standing_.size(); ++i) {
    // Where the policy has no gate, batches start whatever is held here.
    standing_[i]->target = gated ? targets[i] : claims[i].wants ? claims[i].most : 0;
  }
  int free = cores_ - HeldCores() - policy::ThreadsInUse({.models = views_, .cores = cores_});
  for (const auto& standing : standing_) {
    const int held = standing->held();
    const int granted =
        gated ? std::min(standing->target, held + std::max(free, 0)) : standing->target;
    free -= std::max(granted - held, 0);
    if (granted == standing->granted) continue;
    standing->granted = granted;
    if (std::ranges::find(*changed, standing.get()) != changed->end()) continue;
    ++standing->calls;
    changed->push_back(standing.get());
  }
  return StandingCoresNow() < before;
}

void NodeScheduler::Tell(const std::vector<Standing*>& changed) {
  for (Standing* standing : changed) {
    standing->member->CoresChanged();
    const std::lock_guard lock(mutex_);
    if (--standing->calls == 0) called_.notify_all();
  }
}

}  // namespace evenkeel
