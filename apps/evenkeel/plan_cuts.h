// Models of a cluster's file that no place holds whole, cut between their layers; what their stages take is taken from what the others have.
//
// Thread-safety: thread-safe.
#pragma once

#include <nlohmann/json.hpp>

#include "cluster/cluster_file.h"
#include "core/status.h"

namespace evenkeel {

struct CutModels {
  // Without those models, their measurements and dependencies; nodes have less memory and more load. Accelerators have no load: theirs is memory alone.
  ClusterFile rest;
  // [{"task", "layers", "period_s", "latency_s", "hop_s", "stages": [{"name", "node", "first", "last", "memory_bytes", "seconds"}], "why"}], the largest model first.
  nlohmann::ordered_json cuts = nlohmann::ordered_json::array();
};

// Errors: kUnavailable: a model that does not fit cut either, with what is short.
Result<CutModels> CutWhatFitsNowhere(const ClusterFile& file);

}  // namespace evenkeel
