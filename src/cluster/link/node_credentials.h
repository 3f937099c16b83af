// What gRPC needs so that two nodes of a cluster, and nobody else, talk to each other.
//
// Contract: both ends show a certificate of this cluster's authority, or the connection fails. A client that calls node n (ExpectNode) reaches n or
//   nobody, whatever the address leads to. A server knows which node calls (CallerOf). TLS 1.3 is what a server behind a HelloGate speaks; use
//   GrpcDoor. A renewed certificate takes new credentials, i.e. a new server and new channels.
// Thread-safety: thread-safe.
#pragma once

#include <grpcpp/security/auth_context.h>
#include <grpcpp/security/credentials.h>
#include <grpcpp/security/server_credentials.h>
#include <grpcpp/support/channel_arguments.h>

#include <memory>
#include <string>
#include <utility>

#include "cluster/pki/node_certificate.h"
#include "cluster/pki/peer_check.h"
#include "core/status.h"

namespace evenkeel::link {

class NodeCredentials {
 public:
  // Error kInvalidArgument: the certificate beside it is no authority's.
  static Result<NodeCredentials> Create(pki::NodeCertificate certificate);

  const pki::NodeCertificate& certificate() const { return certificate_; }

  std::shared_ptr<grpc::ServerCredentials> Server() const;
  std::shared_ptr<grpc::ChannelCredentials> Client() const;
  // For the channel to that node.
  static void ExpectNode(const std::string& node, grpc::ChannelArguments* arguments);
  // The node at the other end of a call that this server has got. Checked anew once a minute for a certificate (that costs a tenth of a
  // millisecond), remembered in between. Error kUnauthenticated.
  Result<std::string> CallerOf(const grpc::AuthContext& peer, pki::WallTime now) const;

 private:
  struct Seen;
  NodeCredentials(pki::NodeCertificate certificate, pki::PeerCheck check);

  pki::NodeCertificate certificate_;
  pki::PeerCheck check_;
  std::shared_ptr<Seen> seen_;  // of this object alone; shared so that it can be moved
};

}  // namespace evenkeel::link
