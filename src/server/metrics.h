// The daemon's Prometheus metrics, rendered from snapshots at scrape time: nothing is counted twice, the hot path knows no registry.
//
// Names: evenkeel_* in base units, and the nv_inference_* counters that existing dashboards and perf_analyzer read.
// Thread-safety: thread-safe (pure but for this process's own usage figures).
#pragma once

#include <string>
#include <vector>

#include "batching/model_stats.h"
#include "server/model_version.h"

namespace evenkeel {

struct ModelMetrics {
  std::string name, version;
  ModelStats stats;
  std::vector<InstanceSet::Info> instances;
  ModelVersion::InstancesState scale;
  std::optional<NodeScheduler::Outlook> outlook;  // of models whose batches the node decides
};

// Text exposition format. `cores`: that batches of all models share.
std::string RenderMetrics(const std::vector<ModelMetrics>& models, int cores);

}  // namespace evenkeel
