#include "cluster/models/deploy_targets.h"

#include <algorithm>
#include <set>

#include "core/format.h"
#include "core/parse.h"

namespace evenkeel {
namespace {

// Why a node can't serve it; empty: it can.
std::string Obstacle(const DeployNode& node, int64_t memory_bytes, bool named) {
  if (!node.alive) return "it does not answer";
  if (node.draining && !named) return "it takes no new work";
  if (node.serves || node.free_memory_bytes == 0 || node.free_memory_bytes >= memory_bytes)
    return "";
  return fmt::format("{} of memory are free, the model takes {}",
                     FormatBytes(node.free_memory_bytes >> 20 << 20),
                     FormatBytes(((memory_bytes >> 20) + 1) << 20));
}

}  // namespace

Result<DeployTargets> ChooseDeployTargets(const std::string& model, int64_t memory_bytes,
                                          const std::vector<DeployNode>& nodes,
                                          const DeployWish& wish) {
  if (!wish.nodes.empty() && wish.replicas != 0)
    return InvalidArgument("model '{}': nodes and a number of replicas were both given", model);
  if (wish.replicas < 0)
    return InvalidArgument("model '{}': expected at least 1 replica, got {}", model, wish.replicas);
  const std::set<std::string> named(wish.nodes.begin(), wish.nodes.end());
  for (const std::string& name : named) {
    const auto node = std::ranges::find(nodes, name, &DeployNode::name);
    if (node == nodes.end()) return NotFound("the cluster has no node '{}'", name);
    if (const std::string why = Obstacle(*node, memory_bytes, true); !why.empty())
      return Unavailable("node '{}' can't serve model '{}': {}", name, model, why);
  }
  std::vector<const DeployNode*> able;
  DeployTargets targets;
  std::string why_not;
  for (const DeployNode& node : nodes) {
    if (!named.empty() && !named.contains(node.name)) continue;
    const std::string why = Obstacle(node, memory_bytes, !named.empty());
    if (why.empty()) {
      able.push_back(&node);
      continue;
    }
    why_not += fmt::format("; node '{}': {}", node.name, why);
    if (wish.replicas == 0) targets.left_out.emplace_back(node.name, why);
  }
  const auto wanted = static_cast<size_t>(wish.replicas);
  if (able.empty() || able.size() < wanted)
    return Unavailable("model '{}': {} of {} nodes can serve it{}{}", model, able.size(),
                       nodes.size(), wanted > 0 ? fmt::format(", {} were asked for", wanted) : "",
                       why_not);
  if (wanted > 0) {
    std::ranges::stable_sort(able, [](const DeployNode* a, const DeployNode* b) {
      if (a->serves != b->serves) return a->serves;
      return a->free_memory_bytes > b->free_memory_bytes;
    });
    able.resize(wanted);
  }
  for (const DeployNode& node : nodes) {
    if (std::ranges::find(able, &node) != able.end()) targets.nodes.push_back(node.name);
  }
  return targets;
}

}  // namespace evenkeel
