// Where a task can run: a node's processor or one of its accelerators, which compute side by side, each with memory of its own.
//
// Thread-safety: pure.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "cluster/resource_vector.h"

namespace evenkeel {

struct Place {
  int node = 0;
  int accelerator = -1;  // of the node; -1: its processor
};

// Each node's processor, then its accelerators.
std::vector<Place> PlacesOf(const std::vector<NodeState>& nodes);
// "a", "a/CUDA", "a/CUDA-2" where there are several of one name.
std::string NameOf(const Place& place, const std::vector<NodeState>& nodes);
int64_t RoomOf(const Place& place, const std::vector<NodeState>& nodes);  // bytes that are free

}  // namespace evenkeel
