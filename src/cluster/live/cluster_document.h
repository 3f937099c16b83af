// What a gateway knows of the cluster, as the document that `evenkeel plan` reads (cluster_file.h): its nodes with what they have and what they have to do,
// and the models they serve as tasks, each with the seconds that a second's calls of it take on the nodes that have it.
//
// A model is to keep as many replicas as people asked for, else as many as serve it now (replica_wishes.h).
// A model's work is taken as computation: what a node does in a second of a core goes by its measured operations a second. Where the model runs, the measured seconds
//   stand beside that; where it doesn't, the planner predicts them. Suspect nodes, and those whose speed is not known yet, are left out.
// Thread-safety: pure.
#pragma once

#include <nlohmann/json.hpp>
#include <span>

#include "cluster/live/replica_table.h"

namespace evenkeel {

nlohmann::json ClusterDocument(std::span<const ReplicaTable::NodeView> nodes);

}  // namespace evenkeel
