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

// A batch behind the one that runs closes the gap between the two. It would hold the core against other models, so there must be
// none that wants it.
bool Dispatcher::MayLieReady() const {
  return options_.node->Window(node_id_).most > 0 && options_.node->Alone(node_id_);
}

void Dispatcher::PublishToNode(Time now) {
  options_.node->Publish(node_id_, [this, now](NodeScheduler::Snapshot& snapshot) {
    snapshot.objective = Objective();
    snapshot.draining = draining_;
    for (const auto& instance : instances_) {
      if (instance->channel == nullptr) continue;
      policy::InstanceView view;
      view.usable = gated_ && instance->usable && instance->channel->free_slots() > 0;
      view.threads = instance->threads;
      view.in_flight = static_cast<int>(instance->inflight.size());
      view.busy_until = now + RemainingOf(*instance, now);
      snapshot.instances.push_back(view);
      snapshot.ids.push_back(instance->id);
      if (instance->usable) snapshot.max_batch = std::max(snapshot.max_batch, MaxRows(*instance));
    }
    // Retries are run first, and by the dispatcher itself.
    if (!gated_ || !retries_.empty()) return;
    for (const Lane* lane : queue_.lanes()) {
      if (snapshot.lanes.size() == kLanesPublished) break;
      const LaneView waits = queue_.View(*lane);
      policy::LaneView view;
      view.waiting_rows = waits.waiting_rows;
      view.head_rows = waits.head_rows;
      view.oldest_arrival = waits.oldest_arrival;
      view.newest_arrival = waits.newest_arrival;
      view.earliest_deadline = waits.earliest_deadline;
      view.priority = lane->priority();
      view.max_rows = RowsWithin(*lane->head()->request->call, snapshot.max_batch);
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
      int64_t rows = std::min(start.rows, lane.waiting_rows);
      // A batch is padded to the next warm size: rows that wait take the padding's place for nothing.
      if (options_.node->Window(node_id_).most > 0) {
        const int run_rows = RunRows(*instance, static_cast<int>(rows));
        rows = std::max(rows, std::min<int64_t>(lane.waiting_rows, run_rows));
      }
      StartLane(*instance, lane, rows, start.reason, now, &actions);
    }
    Plan(now, &actions);
  }
  Perform(&actions);
}

}  // namespace evenkeel
