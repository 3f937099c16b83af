// A cluster's file worked into a plan, as one JSON document that explains itself.
//
// Thread-safety: thread-safe.
#pragma once

#include <nlohmann/json_fwd.hpp>

#include "cluster/cluster_file.h"
#include "core/status.h"

namespace evenkeel {

// {"schema": "evenkeel.plan/v1", "nodes": [...], "matrix": [{"task", "costs": [{"node", "seconds", "measured", "factor", "reason"}]}], "factors": {...},
//  "steps": [{"name", "makespan_s", "total_s", "sets"}], "moves": [{"task", "from", "to", "utility_before", "utility_after", "potential"}],
//  "placement": {place: [task]}, "replicas": [{"task", "replicas", "least", "asked", "serving", "on": [{"node", "share"}], "why"}], "loads_s": {place: seconds}, "makespan_s", "total_s", "present_s"}.
// "cuts" (plan_cuts.h): models that are cut between their layers; each stage stands in "placement" by its name. They are placed first, the largest before the others.
// A model with replicas stands at each of its places. "replicas" and "present_s" (the busiest place's load as models serve now): where the file has such models.
// `method`: the rules of CN119537032B instead of ours. Errors: as CheckProblem and MakePlan; a task that no node can run is named with what each is short of.
// `most_pairs`: of those worth measuring, how many "factors" names.
Result<nlohmann::ordered_json> PlanDocument(const ClusterFile& file, bool method,
                                            int most_pairs = 5);

}  // namespace evenkeel
