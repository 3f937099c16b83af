// The daemon's Prometheus metrics, rendered from snapshots at scrape time: nothing is counted twice, the hot path knows no registry.
//
// Names: evenkeel_* in base units, and the nv_inference_* counters that existing dashboards and perf_analyzer read.
// Thread-safety: thread-safe (pure but for this process's own usage figures).
#pragma once

#include <string>
#include <vector>

#include "batching/model_stats.h"
#include "batching/node_scheduler.h"
#include "containers/node_memory.h"
#include "server/model_version.h"
#include "server/self_profile.h"

namespace evenkeel {

struct ModelMetrics {
  std::string name, version;
  ModelStats stats;
  std::vector<InstanceSet::Info> instances;
  ModelVersion::InstancesState scale;
  DeviceClass device_class = DeviceClass::kCpu;
  std::string device_label;                       // of its accelerator
  std::optional<NodeScheduler::Outlook> outlook;  // of models whose batches the node decides
  SelfProfile::View profile;
};

struct NodeMetrics {
  int cores = 0;  // that batches of all models share
  NodeScheduler::Load load;
  NodeMemory memory;
  double profile_core_s = 0;  // core time that measuring has taken
  Duration loop_lag{};        // how late the loops get to what is ready, lately
};

// Text exposition format.
std::string RenderMetrics(const std::vector<ModelMetrics>& models, const NodeMetrics& node,
                          const std::vector<Accelerators::Use>& devices);

}  // namespace evenkeel
