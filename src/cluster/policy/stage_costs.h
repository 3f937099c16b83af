// A task with layers and the nodes that may have them, as CutIntoStages() takes them (stages.h).
//
// A layer is an even share of the task beside what only the first and the last stage need. A step of several tokens computes as much for each, and reads the weights once.
// Contract: places are those of PlacesOf(), in its order. REQUIRES: task.layers >= 1. Units: seconds, bytes. Thread-safety: pure. Source: B2, B3.
#pragma once

#include <vector>

#include "cluster/policy/stages.h"
#include "cluster/resource_vector.h"
#include "cluster/task.h"

namespace evenkeel {

LayeredModel LayersOf(const Task& task);

// Of one layer, for a step of so many tokens, by place; infinite: it can't run there. REQUIRES: tokens >= 1.
std::vector<double> LayerSeconds(const Task& task, int tokens, const std::vector<NodeState>& nodes);

// For steps of one token, with the memory and the load that the nodes have now; accelerators have no load.
std::vector<StagePlace> StagePlacesFor(const Task& task, const std::vector<NodeState>& nodes);

// What a step of one token takes from a stage to the next.
double HopSeconds(const Task& task, const Link& link);

}  // namespace evenkeel
