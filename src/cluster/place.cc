#include "cluster/place.h"

#include <fmt/format.h>

#include <algorithm>

namespace evenkeel {

std::vector<Place> PlacesOf(const std::vector<NodeState>& nodes) {
  std::vector<Place> places;
  for (size_t node = 0; node < nodes.size(); ++node) {
    const auto accelerators = static_cast<int>(nodes[node].total.accelerators.size());
    for (int one = -1; one < accelerators; ++one) places.push_back({static_cast<int>(node), one});
  }
  return places;
}

std::string NameOf(const Place& place, const std::vector<NodeState>& nodes) {
  const NodeState& node = nodes[static_cast<size_t>(place.node)];
  if (place.accelerator < 0) return node.name;
  const auto& all = node.total.accelerators;
  const auto at = all.begin() + place.accelerator;
  const auto before = std::count_if(
      all.begin(), at, [&](const AcceleratorResources& one) { return one.backend == at->backend; });
  return before == 0 ? fmt::format("{}/{}", node.name, at->backend)
                     : fmt::format("{}/{}-{}", node.name, at->backend, before + 1);
}

int64_t RoomOf(const Place& place, const std::vector<NodeState>& nodes) {
  const NodeState& node = nodes[static_cast<size_t>(place.node)];
  if (place.accelerator < 0) return node.free_memory_bytes;
  const auto at = static_cast<size_t>(place.accelerator);
  return at < node.free_accelerator_bytes.size() ? node.free_accelerator_bytes[at]
                                                 : node.total.accelerators[at].memory_bytes;
}

}  // namespace evenkeel
