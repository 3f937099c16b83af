// Views of a made-up cluster, for tests of what is learnt from figures.
//
// Thread-safety: single-owner.
#pragma once

#include <string>
#include <vector>

#include "cluster/live/replica_table.h"

namespace evenkeel {

inline ReplicaTable::NodeView ViewOf(std::string name, double cores, double gflops) {
  ReplicaTable::NodeView node;
  node.known = true;
  node.round_trip_s = 0.0004;
  node.bytes_per_s = 1e8;
  node.figures.node = name;
  node.figures.incarnation = 1;
  node.figures.cores = cores;
  node.figures.resources.cores = cores;
  node.figures.resources.gflops = gflops;
  node.figures.resources.memory_gb_s = 10;
  node.figures.resources.memory_bytes = int64_t{8} << 30;
  node.figures.free_memory_bytes = int64_t{4} << 30;
  node.name = std::move(name);
  return node;
}

// A model that is called so often, on that node.
inline void Serve(ReplicaTable::NodeView& node, std::string model, double row_s, double rate_rps) {
  ModelFigures figures;
  figures.name = std::move(model);
  figures.version = "1";
  figures.signature = 7;
  figures.row_s = row_s;
  figures.rate_rps = rate_rps;
  figures.memory_bytes = int64_t{64} << 20;
  figures.start_up_s = 2;
  figures.done = 1;
  node.figures.models.push_back(std::move(figures));
}

inline ModelFigures& ModelOn(ReplicaTable::NodeView& node, size_t index = 0) {
  return node.figures.models.at(index);
}

}  // namespace evenkeel
