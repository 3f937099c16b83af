// How gRPC connects to a server: in plain, or over TLS where the URL says so.
//
// Contract: a `ca_file` that cannot be read trusts nobody (whoever takes it from a user has looked at it).
// Thread-safety: thread-safe.
#pragma once

#include <grpcpp/security/credentials.h>

#include <memory>

#include "loadgen/socket.h"

namespace evenkeel::loadgen {

std::shared_ptr<grpc::ChannelCredentials> CredentialsFor(const Url& url);

}  // namespace evenkeel::loadgen
