// Membership of a node that is alone: no store, no lease. Once joined and asked to, it leads, always under the same term; plans get revisions of its own counting.
//
// Contract: as Membership. The term is that of the last plan on disk, so that a node which was in a cluster and now is alone goes on forward; a new node's is 1.
// Thread-safety: as Membership.
#pragma once

#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <utility>

#include "cluster/membership.h"
#include "core/event_loop.h"

namespace evenkeel {

class SingleMembership final : public Membership {
 public:
  // `last_plan`: from disk, or null. `on_change` may be empty. `loop` outlives this.
  SingleMembership(std::string cluster, std::shared_ptr<const StoredPlan> last_plan,
                   EventLoop& loop, std::function<void()> on_change);

  Status Join(const NodeRecord& self) override;
  void Leave(std::function<void()> done) override;
  void Campaign(bool wanted) override;
  void Publish(StoredPlan plan, PublishDone done) override;
  void SetRemoved(const std::string& node, bool removed, ChangeDone done) override;
  std::shared_ptr<const ClusterView> View() const override;

 private:
  void Tell(ClusterView view);
  // `task` runs later on the loop, unless this is gone by then.
  void Later(std::function<void()> task);

  const std::string cluster_;
  EventLoop& loop_;
  const std::function<void()> on_change_;
  const std::shared_ptr<const bool> alive_ = std::make_shared<const bool>(true);
  const Term term_;
  bool campaign_ = false;
  mutable std::mutex mutex_;  // guards view_
  std::shared_ptr<const ClusterView> view_;
};

}  // namespace evenkeel
