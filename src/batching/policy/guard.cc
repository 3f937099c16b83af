#include "batching/policy/guard.h"

#include <algorithm>
#include <chrono>
#include <cmath>

#include "batching/policy/gate.h"

namespace evenkeel::policy {
namespace {

using namespace std::chrono_literals;

constexpr Duration kGuarded = 30s;
constexpr double kWorse = 0.002;  // of the rows
constexpr int64_t kLeast = 16;    // rows: one shadow may be a batch ahead of the other

// That batches can count on beside language models.
int CoresForBatches(const NodeView& node) {
  return std::max(1, static_cast<int>(std::lround(node.cores - node.standing_share)));
}

// That a batch takes of them. A wider one has all: it would never begin.
int ThreadsOf(const ModelView& model, int cores) { return std::clamp(CpuThreads(model), 1, cores); }

Duration FromSeconds(double s) { return Duration(static_cast<int64_t>(std::min(s, 3600.0) * 1e9)); }

}  // namespace

void ShadowNode::Queue::Push(Group group) {
  rows += group.rows;
  if (size == kGroups) {
    ring[(head + size - 1) % kGroups].rows += group.rows;
    return;
  }
  ring[(head + size++) % kGroups] = group;
}

void ShadowNode::Queue::PopFront() {
  head = (head + 1) % kGroups;
  --size;
}

bool ShadowNode::Ready(const ModelView& model, const Steering& steering, Queue& queue,
                       Time at) const {
  if (!waits_ || queue.rows >= steering.target) return true;
  const Duration age = at - queue.front().arrived;
  if (age >= model.objective / 2 || steering.rate_rps <= 0) return true;
  return age >= FromSeconds(steering.target / steering.rate_rps);
}

void ShadowNode::Start(const NodeView& node, const Steering& steering, size_t m, Time at) {
  const ModelView& model = node.models[m];
  Queue& queue = queues_[m];
  const int64_t rows = std::min<int64_t>(queue.rows, std::max(1, steering.knee));
  const Time end = at + std::max<Duration>(1ns, model.curve->Mean(static_cast<int>(rows)));
  queue.rows -= rows;
  for (int64_t left = rows; left > 0;) {
    Group& group = queue.front();
    const int64_t taken = std::min(left, group.rows);
    if (end - group.arrived > model.objective) missed_ += taken;
    left -= taken;
    group.rows -= taken;
    if (group.rows == 0) queue.PopFront();
  }
  ++queue.busy;
  running_.push_back({m, ThreadsOf(model, CoresForBatches(node)), end});
}

void ShadowNode::StartWhatMay(const NodeView& node, std::span<const Steering> steering, Time at) {
  const int cores = CoresForBatches(node);
  for (;;) {
    int free = cores;
    for (const Running& batch : running_) free -= batch.threads;
    size_t best = node.models.size();
    double urgency = -1;
    for (size_t m = 0; m < queues_.size(); ++m) {
      const ModelView& model = node.models[m];
      Queue& queue = queues_[m];
      if (queue.rows == 0 || model.curve == nullptr || model.curve->empty() ||
          queue.busy >= static_cast<int>(model.instances.size()) || ThreadsOf(model, cores) > free)
        continue;
      const double own = Seconds(at - queue.front().arrived) / Seconds(model.objective);
      if (own > urgency && Ready(model, steering[m], queue, at)) {
        urgency = own;
        best = m;
      }
    }
    if (best == node.models.size()) return;
    Start(node, steering[best], best, at);
  }
}

void ShadowNode::Advance(const NodeView& node, std::span<const Steering> steering,
                         std::span<const int64_t> arrived, Time now) {
  if (queues_.size() != node.models.size()) {
    queues_.assign(node.models.size(), Queue());
    running_.clear();
  }
  // What ended since makes room in the order in which it ended.
  for (;;) {
    const auto first = std::ranges::min_element(running_, {}, &Running::end);
    if (first == running_.end() || first->end > now) break;
    const Running ended = *first;
    running_.erase(first);
    --queues_[ended.model].busy;
    StartWhatMay(node, steering, ended.end);
  }
  for (size_t m = 0; m < queues_.size(); ++m) {
    if (arrived[m] > 0) queues_[m].Push({now, arrived[m]});
  }
  StartWhatMay(node, steering, now);
}

bool Guard::Worse() const {
  int64_t rows = 0, zero = 0, as_is = 0;
  for (const Second& second : seconds_) {
    rows += second.rows;
    zero += second.missed_at_zero;
    as_is += second.missed_as_is;
  }
  return as_is - zero > std::max(kLeast, static_cast<int64_t>(kWorse * static_cast<double>(rows)));
}

void Guard::Clear() {
  at_zero_ = ShadowNode(false);
  as_is_ = ShadowNode(true);
  seconds_ = {};
  seen_.clear();
}

bool Guard::Idle(Time now) {
  if (!seen_.empty()) Clear();
  return now < guarded_until_;
}

bool Guard::Tick(const NodeView& node, std::span<const Steering> steering, Time now) {
  if (now < guarded_until_) return true;
  const int64_t second = now.time_since_epoch() / 1s;
  for (int64_t s = std::max(second_ + 1, second - kSeconds + 1); s <= second; ++s)
    seconds_[static_cast<size_t>(s % kSeconds)] = Second();
  second_ = second;
  const bool fresh = seen_.size() != node.models.size();
  seen_.resize(node.models.size());
  arrived_.assign(node.models.size(), 0);
  Second& current = seconds_[static_cast<size_t>(second % kSeconds)];
  for (size_t m = 0; m < seen_.size(); ++m) {
    const Traffic* traffic = node.models[m].traffic;
    const int64_t items = traffic == nullptr ? 0 : traffic->total_items();
    // The shadows know cores alone: what an accelerator takes, or might, is left out on both sides.
    const bool on_cores = node.models[m].device == DeviceClass::kCpu;
    if (!fresh && on_cores) arrived_[m] = std::max<int64_t>(0, items - seen_[m]);
    seen_[m] = items;
    current.rows += arrived_[m];
  }
  at_zero_.Advance(node, steering, arrived_, now);
  as_is_.Advance(node, steering, arrived_, now);
  current.missed_at_zero += at_zero_.TakeMissed();
  current.missed_as_is += as_is_.TakeMissed();
  if (!Worse()) return false;
  guarded_until_ = now + kGuarded;
  Clear();
  return true;
}

}  // namespace evenkeel::policy
