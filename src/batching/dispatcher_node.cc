// The dispatcher as a member of the node: what it publishes, and what it starts when it is told to.
#include <algorithm>

#include "batching/dispatcher.h"
#include "batching/dispatcher_internal.h"
#include "core/check.h"

namespace evenkeel {
namespace {

// Lanes that the node's policy chooses from; with more shapes than this waiting, they take turns (RowQueue::Remove).
constexpr size_t kLanesPublished = 16;

}  // namespace

// Rows of a batch that is not worth growing there; 0: unknown.
int Dispatcher::FullSize(const Instance& instance) const {
  const policy::ModelOutlook window = options_.node->Window(node_id_);
  return instance.device == DeviceClass::kGpu ? window.device_knee : window.most;
}

// A batch behind the one that runs closes the gap between the two. It would hold the core against other models, so there must be
// none that wants it.
// A model with instances of both classes leaves it to the node which of them is next.
bool Dispatcher::MayLieReady(const Instance& instance) const {
  if (options_.device == DeviceClass::kAuto || FullSize(instance) == 0) return false;
  if (instance.threads == 0) return true;
  return options_.node->Alone(node_id_) && !AnotherCouldStart();
}

// An idle instance for which there are cores: the node starts a batch there at once.
bool Dispatcher::AnotherCouldStart() const {
  int free = options_.cores;
  for (const auto& instance : instances_) {
    if (!instance->inflight.empty()) free -= std::min(instance->threads, options_.cores);
  }
  return std::ranges::any_of(instances_, [&](const auto& one) {
    return one->usable && one->channel != nullptr && one->inflight.empty() &&
           std::min(one->threads, options_.cores) <= free;
  });
}

// A batch runs as the next warm size. Rows that wait take the padding's place for nothing; where they are too few, the warm size below
// and a batch of the rest may be done sooner than the padded one.
int64_t Dispatcher::FitToWarm(const Instance& instance, int rows, int64_t waiting_rows) const {
  const int up = RunRows(instance, rows);
  if (waiting_rows >= up) return up;
  const int fill = std::max(rows, static_cast<int>(waiting_rows));
  const int down = WarmBelow(instance, fill);
  if (down == 0 || down == fill) return fill;
  const BatchTimes& times = TimesOf(instance);
  const Duration apart = times.Estimate(down) + times.Estimate(RunRows(instance, fill - down));
  return apart < times.Estimate(up) ? down : fill;
}

void Dispatcher::PublishToNode(Time now) {
  options_.node->Publish(node_id_, [this, now](NodeScheduler::Snapshot& snapshot) {
    snapshot.objective = Objective();
    snapshot.device = options_.device;
    snapshot.draining = draining_;
    int most = 0, device_most = 0;
    for (const auto& instance : instances_) {
      if (instance->channel == nullptr) continue;
      policy::InstanceView view;
      view.usable = gated_ && instance->usable && instance->channel->free_slots() > 0;
      view.device = instance->device;
      view.threads = instance->threads;
      view.in_flight = static_cast<int>(instance->inflight.size());
      view.busy_until = now + RemainingOf(*instance, now);
      snapshot.instances.push_back(view);
      snapshot.ids.push_back(instance->id);
      int& most_of = instance->device == DeviceClass::kGpu ? device_most : most;
      if (instance->usable) most_of = std::max(most_of, MaxRows(*instance));
    }
    if (most > 0) snapshot.max_batch = most;
    if (device_most > 0) snapshot.device_max_batch = device_most;
    const int most_rows = std::max(snapshot.max_batch, snapshot.device_max_batch);
    // Retries are run first, and by the dispatcher itself.
    if (!gated_ || !retries_.empty()) return;
    for (const Lane* lane : queue_.lanes()) {
      if (snapshot.lanes.size() == kLanesPublished) break;
      policy::LaneView view = queue_.View(*lane);
      view.max_rows = RowsWithin(*lane->head()->request, most_rows);
      snapshot.lanes.push_back(view);
    }
  });
}

void Dispatcher::StartBatch(const NodeScheduler::Start& start) {
  Actions actions;
  {
    const std::lock_guard lock(mutex_);
    const Time now = clock_.Now();
    DropDue(now, &actions);
    Instance* instance = Find(start.instance);
    // What was published may be old by now; then Plan() publishes what is.
    const bool can = instance != nullptr && instance->usable && instance->channel != nullptr &&
                     instance->inflight.empty() && instance->channel->free_slots() > 0 &&
                     retries_.empty();
    if (can && start.lane < static_cast<int>(queue_.lanes().size())) {
      Lane& lane = **std::next(queue_.lanes().begin(), start.lane);
      int64_t rows = std::min<int64_t>({start.rows, lane.waiting_rows, MaxRows(*instance)});
      if (FullSize(*instance) > 0)
        rows = FitToWarm(*instance, static_cast<int>(rows), lane.waiting_rows);
      StartLane(*instance, lane, rows, start.reason, now, &actions);
    }
    Plan(now, &actions);
  }
  Perform(&actions);
}

}  // namespace evenkeel
