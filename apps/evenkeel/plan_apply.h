// Carries out a plan of the running cluster: models are loaded where it wants them, and only then unloaded elsewhere.
//
// Contract: prints the steps and what they gain; asks, unless `yes`; without a terminal and `yes` it says that nothing was done, and fails. A step that fails ends it: what was done stays, and no
//   model is without a replica. Plans that cut a model over nodes are refused. Throws CLI::RuntimeError as the verbs do.
// Thread-safety: main thread only. Source: issue S4, `plan --apply`.
#pragma once

#include <nlohmann/json_fwd.hpp>
#include <string>
#include <vector>

#include "api.h"
#include "cluster/cluster_file.h"
#include "cluster/models/apply_steps.h"
#include "core/clock.h"
#include "core/status.h"

namespace evenkeel {

struct ApplyOptions {
  bool yes = false;
  Duration wait = std::chrono::minutes(5);  // for one model on one node
};

// `plan`: of `file` (plan_document.h), which is the cluster of the server that `api` asks.
void ApplyPlan(const Api& api, const ClusterFile& file, const nlohmann::ordered_json& plan,
               const ApplyOptions& options);

}  // namespace evenkeel
