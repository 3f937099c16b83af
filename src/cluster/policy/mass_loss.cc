#include "cluster/policy/mass_loss.h"

#include <algorithm>
#include <utility>

#include "core/format.h"

namespace evenkeel {
namespace {

bool IsMass(size_t lost, size_t base) { return lost >= 2 && 2 * lost > base; }

}  // namespace

void MassLoss::Observe(const std::vector<NodePresence>& nodes, Time now) {
  std::map<std::string, Node> known;
  size_t present = 0;
  std::set<std::string> lost;
  for (const NodePresence& one : nodes) {
    const auto before = nodes_.find(one.id);
    Node node = before == nodes_.end() ? Node{one.present, now, false} : before->second;
    if (node.present && !one.present) {
      node.went = now;
      node.counts = true;
    }
    node.present = one.present;
    if (node.present) {
      node.counts = false;
      ++present;
    } else if (node.counts &&
               (now - node.went <= options_.together || (frozen_ && lost_.contains(one.id)))) {
      lost.insert(one.id);
    }
    known.emplace(one.id, node);
  }
  nodes_ = std::move(known);
  if (!frozen_) {
    if (!IsMass(lost.size(), present + lost.size())) return;
    frozen_ = true;
    base_ = present + lost.size();
    lost_ = std::move(lost);
    few_since_ = kNever;
    return;
  }
  lost_ = std::move(lost);
  base_ = std::max(base_, present + lost_.size());
  if (IsMass(lost_.size(), base_)) {
    few_since_ = kNever;
    return;
  }
  if (few_since_ == kNever) few_since_ = now;
  if (now - few_since_ < options_.calm) return;
  frozen_ = false;
  for (const std::string& id : lost_) nodes_[id].counts = false;
  lost_.clear();
}

void MassLoss::Release() {
  frozen_ = false;
  lost_.clear();
  few_since_ = kNever;
  for (auto& [id, node] : nodes_) node.counts = false;
}

std::string MassLoss::why() const {
  if (!frozen_) return "";
  return fmt::format("moves are frozen: {} of {} nodes went at once: {}", lost_.size(), base_,
                     fmt::join(lost_, ", "));
}

}  // namespace evenkeel
