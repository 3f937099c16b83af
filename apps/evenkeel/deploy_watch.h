// Asks a server to have a model deployed, and watches until it is served where it was asked for.
//
// Contract: a server that refuses is said on stderr, and CLI::RuntimeError thrown (api.h). On a terminal a table is drawn over itself meanwhile, elsewhere each change of a node is a line on stderr.
// Thread-safety: main thread only.
#pragma once

#include <functional>
#include <nlohmann/json.hpp>

#include "api.h"
#include "core/clock.h"
#include "output.h"

namespace evenkeel {

// `request`: the body of POST /v2/cluster/deploy. The deployment as it stood last (server/cluster_deploys.h): all nodes are through, or `wait` is over.
nlohmann::ordered_json DeployAndWatch(const Api& api, const nlohmann::ordered_json& request,
                                      Duration wait);
// The same of a deployment that was begun, or until `stopped` says so (it may be empty).
nlohmann::ordered_json WatchDeployment(const Api& api, nlohmann::ordered_json deployment,
                                       Duration wait, const std::function<bool()>& stopped);

// Each node serves it, or has failed to.
bool Through(const nlohmann::ordered_json& deployment);

// Its nodes as a table.
Listing NodesOf(const nlohmann::ordered_json& deployment);

// Why a deployment is none, a line a node that doesn't serve the model; "": all do.
std::string FailuresOf(const nlohmann::ordered_json& deployment);

}  // namespace evenkeel
