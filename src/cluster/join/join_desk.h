// Where new nodes ask to be let in: POST /join over HTTPS, on the node that holds the cluster's authority.
//
// How a node is let in: its token is redeemed (once, on the disk), its request is read and held against its address (request_check.h), the cluster and the names
//   that are taken, it is certified, and `admit` is told. A token is spent also where what follows fails: whoever has one makes a new one.
// Contract: nothing is answered but POST /join. Messages say what was wrong with a request, never whether a token was ever good, nor anything of this server's disk.
//   Of two that ask for one name or address the first has it, also before `nodes` knows it. Refusals are in the log, a line in kWarnEvery at most.
// Thread-safety: thread-safe. Handlers block on the disk: the listener's loop has to be one of its own.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "cluster/home/cluster_home.h"
#include "cluster/pki/certificate_authority.h"
#include "cluster/pki/join_tokens.h"
#include "cluster/pki/signing_request.h"
#include "core/clock.h"
#include "core/status.h"
#include "net/http_message.h"

namespace evenkeel {

class JoinDesk final : public HttpHandler {
 public:
  static constexpr Duration kWarnEvery = std::chrono::seconds(10);
  // So long a node that was admitted has its name and address whatever `nodes` says, which hears of it a moment later.
  static constexpr std::chrono::seconds kAdmittedFor{30};

  // Whether the node may come (kConflict: its name is another's), and that it comes: called once it was certified.
  using Admit = std::function<Status(const NodeAddress& node)>;
  using Nodes = std::function<std::vector<NodeAddress>()>;  // all of the cluster, this one too
  using Store = std::function<StoreHome()>;                 // how the cluster has its store

  // `tokens`: the folder of cluster/pki/join_tokens.h.
  JoinDesk(pki::CertificateAuthority authority, const std::string& tokens, Nodes nodes, Store store,
           Admit admit)
      : authority_(std::move(authority)),
        tokens_(tokens, authority_.digest()),
        nodes_(std::move(nodes)),
        store_(std::move(store)),
        admit_(std::move(admit)) {}

  void Handle(HttpExchange& exchange) override;
  // What Handle() answers to a body. `for_log`: why it was refused, where the asker is told less; may be null.
  Result<std::string> Join(std::string_view body, pki::WallTime now,
                           std::string* for_log = nullptr);

 private:
  struct Admitted {
    NodeAddress node;
    pki::WallTime when;
  };

  Status Redeem(const std::string& token, pki::WallTime now, std::string* for_log) const;
  Result<std::string> Certify(const NodeAddress& node, const pki::SigningRequest& request,
                              std::vector<NodeAddress> nodes, pki::WallTime now);
  Status Reserve(const NodeAddress& node, const std::vector<NodeAddress>& nodes, pki::WallTime now);
  void Release(const NodeAddress& node);
  void Warn(const std::string& why, Time now);

  const pki::CertificateAuthority authority_;
  const pki::JoinTokens tokens_;
  const Nodes nodes_;
  const Store store_;
  const Admit admit_;
  std::mutex mutex_;  // guards what follows
  std::vector<Admitted> admitted_;
  Time warn_again_{};    // no line before
  uint64_t unsaid_ = 0;  // refusals since the last line
};

}  // namespace evenkeel
