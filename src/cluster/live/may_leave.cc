#include "cluster/live/may_leave.h"

#include <algorithm>

#include "core/format.h"

namespace evenkeel {
namespace {

using NodeView = ReplicaTable::NodeView;

bool Counts(const NodeView& node) {
  return node.known && !node.gone && !node.suspect && !node.figures.draining;
}

const LeavingModel* LeavingOn(const NodeView& node, std::string_view model) {
  const auto& leaving = node.figures.leaving;
  const auto at = std::ranges::find(leaving, model, &LeavingModel::model);
  return at == leaving.end() ? nullptr : &*at;
}

}  // namespace

Status MayLeave(std::string_view model, bool served, std::span<const NodeView> nodes) {
  if (nodes.empty()) return Conflict("nothing is known of other nodes that serve it");
  const std::string& own = nodes.front().name;
  const NodeView* other = nullptr;  // that takes it away, too
  for (const NodeView& node : nodes.subspan(1)) {
    if (!Counts(node)) continue;
    if (const LeavingModel* const leaving = LeavingOn(node, model)) {
      // It stays there, for it will see that this node goes.
      if (!leaving->certain && node.name < own) return Status::Ok();
      other = &node;
    } else if (Serves(node.figures, model)) {
      return Status::Ok();
    }
  }
  if (other != nullptr)
    return Conflict("model '{}' is being taken from node '{}' as well, and no other node has it",
                    model, other->name);
  return served ? Conflict("no other node serves model '{}' now", model) : Status::Ok();
}

}  // namespace evenkeel
