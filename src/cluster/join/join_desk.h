// Where new nodes ask to be let in: POST /join over HTTPS, on the node that holds the cluster's authority.
//
// How a node is let in: its token is redeemed (once, on the disk), its request is read and held against the cluster and the names that are taken, it is certified,
//   and `admit` is told. A token is spent also where what follows fails: whoever has one makes a new one.
// Contract: nothing is answered but POST /join. Messages say what was wrong with a request, never whether a token was ever good.
// Thread-safety: handlers run on the listener's loop, which may block on the disk: it has to be a loop of its own.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "cluster/home/cluster_home.h"
#include "cluster/pki/certificate_authority.h"
#include "cluster/pki/join_tokens.h"
#include "net/http_message.h"

namespace evenkeel {

class JoinDesk final : public HttpHandler {
 public:
  // Whether the node may come (kConflict: its name is another's), and that it comes: called once it was certified.
  using Admit = std::function<Status(const NodeAddress& node)>;
  using Nodes = std::function<std::vector<NodeAddress>()>;  // all of the cluster, this one too

  // `tokens`: the folder of cluster/pki/join_tokens.h.
  JoinDesk(pki::CertificateAuthority authority, const std::string& tokens, Nodes nodes, Admit admit)
      : authority_(std::move(authority)),
        tokens_(tokens, authority_.digest()),
        nodes_(std::move(nodes)),
        admit_(std::move(admit)) {}

  void Handle(HttpExchange& exchange) override;
  // What Handle() answers to a body.
  Result<std::string> Join(std::string_view body, pki::WallTime now);

 private:
  const pki::CertificateAuthority authority_;
  const pki::JoinTokens tokens_;
  const Nodes nodes_;
  const Admit admit_;
};

}  // namespace evenkeel
