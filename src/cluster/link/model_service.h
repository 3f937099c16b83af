// The side of a node that other nodes ask for its models, as a gRPC service beside that of link_server.h.
//
// Contract: whoever the gate does not let in gets nothing. What is asked for is checked before the host sees it. Answers carry what went wrong as an Outcome.
// Thread-safety: thread-safe.
#pragma once

#include <grpcpp/impl/codegen/service_type.h>

#include <memory>

#include "cluster/link/caller_gate.h"
#include "cluster/link/model_host.h"

namespace evenkeel::link {

// `host`, and what the gate stands on, outlive it.
std::unique_ptr<grpc::Service> MakeModelService(ModelHost& host, CallerGate gate);

}  // namespace evenkeel::link
