#include "cluster/single_membership.h"

#include <algorithm>

#include "core/format.h"
#include "core/parse.h"

namespace evenkeel {

SingleMembership::SingleMembership(std::string cluster, std::shared_ptr<const StoredPlan> last_plan,
                                   EventLoop& loop, std::function<void()> on_change)
    : cluster_(std::move(cluster)),
      loop_(loop),
      on_change_(std::move(on_change)),
      term_(last_plan != nullptr ? last_plan->stamp.term : Term{0, 1}) {
  auto view = std::make_shared<ClusterView>();
  view->serial = 1;
  view->connected = true;
  view->history = term_.history;
  view->revision = last_plan != nullptr ? last_plan->stamp.revision : term_.revision;
  view->plan = std::move(last_plan);
  view_ = std::move(view);
}

Status SingleMembership::Join(const NodeRecord& self) {
  EK_RETURN_IF_ERROR(CheckNodeRecord(self));
  ClusterView view = *View();
  if (view.joined && view.nodes.front().id != self.id)
    return InvalidArgument("this node has joined as {}; it cannot be {} too", view.nodes.front().id,
                           self.id);
  view.nodes = {self};
  view.joined = true;
  Tell(std::move(view));
  return Status::Ok();
}

void SingleMembership::Leave(std::function<void()> done) {
  campaign_ = false;
  ClusterView view = *View();
  view.nodes.clear();
  view.joined = false;
  Tell(std::move(view));
  Later(std::move(done));
}

void SingleMembership::Campaign(bool wanted) {
  campaign_ = wanted;
  Tell(*View());
}

void SingleMembership::Tell(ClusterView view) {
  view.leading = view.joined && campaign_;
  view.leader.reset();
  if (view.leading) view.leader = Leader{view.nodes.front().id, term_};
  {
    const std::lock_guard lock(mutex_);
    view.serial = view_->serial;
    if (view == *view_) return;
    ++view.serial;
    view_ = std::make_shared<const ClusterView>(std::move(view));
  }
  if (on_change_) Later(on_change_);
}

void SingleMembership::Later(std::function<void()> task) {
  loop_.Post([alive = std::weak_ptr<const bool>(alive_), task = std::move(task)] {
    if (!alive.expired()) task();
  });
}

void SingleMembership::Publish(StoredPlan plan, PublishDone done) {
  ClusterView view = *View();
  Result<PlanStamp> result = PlanStamp{term_, view.revision + 1};
  if (!view.leading) {
    result = Conflict("this node does not lead the cluster");
  } else if (plan.stamp.term != term_) {
    result = Conflict("the plan was made under {}; now it is {}", ToText(plan.stamp.term),
                      ToText(term_));
  } else {
    plan.cluster = cluster_;
    plan.made_by = view.nodes.front().id;
    plan.stamp = *result;
    // What could not be written down is refused here as by a store.
    if (const auto text = WriteStoredPlan(plan); !text.ok()) result = text.status();
  }
  if (result.ok()) {
    view.revision = plan.stamp.revision;
    view.plan = std::make_shared<const StoredPlan>(std::move(plan));
    Tell(std::move(view));
  }
  Later([done = std::move(done), result = std::move(result)] { done(result); });
}

void SingleMembership::SetRemoved(const std::string& node, bool /*removed*/, ChangeDone done) {
  Later([node, done = std::move(done)] {
    done(Unsupported("node '{}': this node is alone, there are no others", Excerpt(node)));
  });
}

std::shared_ptr<const ClusterView> SingleMembership::View() const {
  const std::lock_guard lock(mutex_);
  return view_;
}

}  // namespace evenkeel
