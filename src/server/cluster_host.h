// This server's part in a cluster, if it has one: from its settings (peers by hand, nothing encrypted) or from its cluster folder (cluster/home), where nodes know
// each other by certificates, the one with the authority lets new ones in, and membership goes by the cluster's store, if it has one. Without the store the server
// serves on: only changes are refused.
//
// Thread-safety: made, drained and stopped on the main thread; the rest is thread-safe.
#pragma once

#include <atomic>
#include <functional>
#include <memory>
#include <mutex>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

#include "cluster/join/join_desk.h"
#include "cluster/link/node_credentials.h"
#include "cluster/membership.h"
#include "cluster/pki/certificate_authority.h"
#include "net/http_server.h"
#include "net/io_loop.h"
#include "server/certificate_renewal.h"
#include "server/cluster_membership.h"
#include "server/cluster_node.h"
#include "server/serve_options.h"

namespace evenkeel {

class ClusterHost {
 public:
  // Null: the server is alone. Errors: as LoadClusterHome() but kNotFound, as NodeCertificate::Load(), as ClusterNode::Start(); kInvalidArgument: settings
  // that say another thing than the folder.
  static Result<std::unique_ptr<ClusterHost>> Start(const ServeOptions& options,
                                                    ModelRegistry& registry, IoLoop& loop,
                                                    const Clock& clock);
  ~ClusterHost();

  ClusterNode& node() { return *node_; }

  // What this node knows of the cluster by its store; null: there is no store. Thread-safe.
  std::shared_ptr<const ClusterView> View() const;
  // Has a plan stored, by whichever node leads. `done` comes once, on any thread, perhaps within the call. Errors: kUnavailable (no store, it cannot be reached,
  // nobody leads: since when and why), and those of Membership::Publish(). Thread-safe.
  void Publish(std::string plan_text, std::function<void(Result<PlanStamp>)> done);
  // Called with each plan that is newer than the one before, the last one from the disk first, on a thread of its own that may wait for the disk. Once, before
  // load is taken; `on_plan` must not outlive what it uses: it is not called after Stop().
  void set_on_plan(std::function<void(std::shared_ptr<const StoredPlan>)> on_plan);

  // That the store is away, since when and why; "": it is there, or the cluster has none. Thread-safe.
  std::string WhyAway() const;

  // The store, who leads, the plan; for people.
  nlohmann::json DescribeMembership() const;
  // Takes a node off the cluster that is dead or drained. Errors: kNotFound, kConflict (it is alive), kInvalidArgument (this node), and as Publish().
  void RemoveNode(const std::string& node, std::function<void(Status)> done);
  // As ClusterMembership has them; kUnavailable where there is no store.
  void ReplaceMember(const std::string& node, std::function<void(Status)> done);
  void Promote(std::function<void(Status)> done);

  void Drain() { node_->Drain(); }
  void Stop();
  std::string Summary() const;  // "desk, 10.0.0.2:8010; new nodes join at 10.0.0.2:8011"

 private:
  ClusterHost() = default;
  Status LoadAuthority();
  Status OpenDesk(const std::string& folder);
  Status Admit(const NodeAddress& node);
  MembershipHooks Hooks();
  Status OpenMembership(const ServeOptions& options, const Clock& clock);
  void WatchPlans();
  void CloseMembership();
  void OnView(const ClusterView& view);
  void PublishHere(std::string plan, std::function<void(Result<PlanStamp>)> done);
  // `task` on the store's thread, with the membership, if there is one; else, or if it is torn down, `done` gets kUnavailable.
  void WithMembership(std::function<void(Status)> done,
                      std::function<void(ClusterMembership&, std::function<void(Status)>)> task);
  Result<std::string> Renew(const std::string& caller, const std::string& request_pem);
  void AskForCertificate(const std::string& request_pem,
                         std::function<void(Result<std::string>)> done);
  void LookAtCertificate();
  // Changes what is kept of the cluster, on the disk too.
  void Keep(const std::function<void(ClusterHome*)>& change);

  std::string folder_;
  mutable std::mutex home_mutex_;  // guards home_'s lists and its file
  std::optional<ClusterHome> home_;
  std::optional<link::NodeCredentials> credentials_;
  std::optional<pki::CertificateAuthority> authority_;  // of the node that holds it
  std::string address_;
  std::unique_ptr<ClusterNode> node_;
  // Of the node that holds the authority.
  std::unique_ptr<IoLoop> desk_loop_;
  std::unique_ptr<JoinDesk> desk_;
  std::unique_ptr<HttpServer> desk_server_;
  std::string desk_address_;
  // Of a node with a cluster folder: the thread that membership has for itself, and which waits for the disk.
  std::unique_ptr<IoLoop> store_loop_;
  bool store_closed_ = false;
  StoreAccess access_;
  std::unique_ptr<ClusterMembership> membership_;            // the store's thread's
  std::atomic<ClusterMembership*> membership_now_{nullptr};  // for its thread-safe methods
  std::unique_ptr<CertificateRenewal> renewal_;
  std::unique_ptr<Alarm> renewal_alarm_;
  std::vector<std::string> removed_told_;  // the store's thread's
};

// The port where new nodes ask to be let in: the one after the nodes' own.
inline int JoinPortOf(int node_port) { return node_port + 1; }

}  // namespace evenkeel
