// Has models served by nodes of the cluster, for who asked this node: chooses the nodes, tells each, and follows how far they are.
//
// How it goes: all nodes that answer are asked what content they have under the name; two contents are refused. Each chosen node copies and loads on its own account (NodeModels); it is asked
//   how far it is every kPoll, told again if it forgot (a restart), and given up once it was silent for kSilence. How models are taken from nodes: ClusterDepartures.
// Contract: requests are looked at one after the other on a thread of its own, which waits for no model to go. One whose plan was stored a moment ago and is not known here yet, or that needs all
//   nodes while one does not answer, is put aside for as long as that may take (NodeModelsOptions::plan_patience, kSettle), kMostParked at most (then kOverloaded), and the others go on.
//   It does wait for nodes that are slow to answer: all requests for as long as one node makes the list of a model's files at a deployment (ModelNodes::Holders: up to 30 minutes where it has to read all of a large model first), and
//   for up to 5 s for each node that is told to load, or asked how far it is (Poll). A node that hangs altogether ends that within 9 s, by the pings of its link.
//   `done` comes once: the chosen nodes, or why not; how it went on is Describe()'s. The last kMostKept are kept, in memory.
//   What people ask, and not a plan, is told as the number of replicas that they want (Cluster::asked). A plan's requests carry its stamp to the nodes; a stamp of which this node does not
//   hear by the store is refused (kConflict), with the newest that is known.
// Errors of requests: kNotFound (no node has the model, no such node), kConflict (two contents of one name; an unknown plan), kUnavailable (a node that does not answer, too little memory),
//   kInvalidArgument, and those of ClusterDepartures and NodeModels.
// Ownership: what it is made with outlives it. Thread-safety: thread-safe, but for Stop() and destruction. Source: issue S4, `deploy`.
#pragma once

#include <condition_variable>
#include <deque>
#include <functional>
#include <list>
#include <memory>
#include <mutex>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "cluster/live/replica_table.h"
#include "cluster/models/deploy_targets.h"
#include "frontends/deploy_request.h"
#include "server/cluster_departures.h"
#include "server/model_nodes.h"
#include "server/node_models.h"

namespace evenkeel {

class ClusterDeploys {
 public:
  static constexpr Duration kPoll = std::chrono::milliseconds(250);
  static constexpr Duration kSilence = std::chrono::seconds(60);
  static constexpr Duration kSettle = std::chrono::seconds(3);
  static constexpr Duration kLook = std::chrono::milliseconds(25);  // at what was put aside
  static constexpr size_t kMostKept = 50;
  static constexpr size_t kMostParked = 64;

  // What it knows of the cluster and does with it.
  struct Cluster {
    std::function<std::vector<ReplicaTable::NodeView>()> look;  // the own node first
    std::function<std::unique_ptr<ModelPeer>(const std::string& node)> link_to;
    // What people want; 0: nothing any more.
    std::function<void(const std::string& model, int replicas)> asked;
  };
  ClusterDeploys(Cluster cluster, NodeModels& own, EventLog& events, const Clock& clock);
  ~ClusterDeploys();
  // What waits is answered with kUnavailable.
  void Stop();

  using Done = std::function<void(Result<nlohmann::json>)>;
  void Deploy(DeployRequest request, Done done);
  void Undeploy(UndeployRequest request, Done done);
  // {"deploys": [{"id", "model", "digest", "why", "nodes": [{"node", "state", "bytes_done", "bytes_total", "bytes_fetched", "bytes_resumed", "from", "error"}], "left_out": [{"node", "why"}]}]}, the
  // newest last.
  nlohmann::json Describe() const;

 private:
  struct Target {
    std::string node;
    DeployProgress progress;
    bool ordered = false;  // it was told; else what it says is of an earlier order
    Time heard{};          // from it, or when it was chosen
    Time served{};         // since when it says that it serves; epoch: not yet
  };
  struct Deployment {
    uint64_t id = 0;
    DeployOrder order;
    std::vector<Target> targets;
    std::vector<std::pair<std::string, std::string>> left_out;  // nodes, and why
    bool open() const;
  };
  // What is done with a request that was put aside. Ok: that for which it waited is there, or its time is up.
  using Go = std::function<void(const Status& may)>;
  struct Parked {
    std::optional<PlanStamp> plan;  // that is to be known here; nullopt: all nodes are to answer
    Time until;
    Go go;
  };
  void Run();
  bool Post(std::function<void()> task);  // false: stopped
  Result<nlohmann::json> Begin(const DeployRequest& request);
  // Each goes once, at once where it can. Error kConflict: nothing is known of the plan here, by now. What is older is for the nodes to refuse.
  void OncePlanIsKnown(const OrderedBy& by, Go go);
  // Or after kSettle: one that was slow for a moment is not left out.
  void OnceAllAnswer(Go go);
  bool AllAnswer() const;
  void Park(Parked one);
  void LookAtParked();
  void Poll();
  Result<DeployProgress> Order(const DeployOrder& order, bool own, Target* target);
  Result<DeployProgress> Hear(const DeployOrder& order, bool own, const Target& target);
  DeployProgress Ask(const DeployOrder& order, Target* target);
  static nlohmann::json JsonOf(const Deployment& deployment);

  NodeModels& own_;
  EventLog& events_;
  const Clock& clock_;
  const std::function<void(const std::string& model, int replicas)> asked_;
  ModelNodes nodes_;
  ClusterDepartures departures_;
  std::list<Parked> parked_;  // the thread's

  mutable std::mutex mutex_;  // guards what follows; not held while nodes are asked
  std::condition_variable wake_;
  std::deque<std::function<void()>> tasks_;
  std::deque<Deployment> deployments_;
  uint64_t last_id_ = 0;
  bool stopped_ = false;

  std::thread thread_;  // last
};

}  // namespace evenkeel
