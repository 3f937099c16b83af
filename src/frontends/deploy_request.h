// A model to be served by nodes of the cluster, or not any more: the body of POST /v2/cluster/deploy and /v2/cluster/undeploy. And of /v2/cluster/plan.
//
// Contract: unknown keys, wrong kinds and empty lists are refused, by name. Errors: kInvalidArgument. Thread-safety: values.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "core/status.h"

namespace evenkeel {

// The stamp of a stored plan (cluster/stored_plan.h), as POST /v2/cluster/plan gives it: {"history", "term", "revision"}.
struct PlanMark {
  int64_t history = 0, term = 0, revision = 0;
  bool operator==(const PlanMark&) const = default;
};

// Where a request comes from: people, or a plan that is carried out.
struct OrderedBy {
  bool plan = false;  // what a plan does says nothing of how many replicas people want
  std::optional<PlanMark>
      mark;  // of that plan, if it was stored: nodes that know a newer one refuse it
};

struct DeployRequest {
  std::string model;
  std::vector<std::string> nodes;  // empty: whichever
  int replicas = 0;                // 0: as many as have the memory
  std::string why = {};            // for the event log; empty: it was asked for
  OrderedBy by = {};
};

struct UndeployRequest {
  std::string model;
  std::vector<std::string> nodes;
  bool keep_files = false;  // it is unloaded only
  bool force = false;       // also from the last node that has it
  std::string why = {};
  OrderedBy by = {};
};

Result<DeployRequest> ParseDeployRequest(std::string_view body);
Result<UndeployRequest> ParseUndeployRequest(std::string_view body);
// A plan's text, as it is stored: an object with a "placement" of lists of models by node.
Result<std::string> CheckPlanText(std::string_view body);

}  // namespace evenkeel
