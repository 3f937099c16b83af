// The cluster's nodes as those see them who put models on nodes and take them away: who answers, who serves a model, who has its files; and a link to each.
//
// Use for: ClusterDeploys and ClusterDepartures, which share one. Not for: routing, which doubts nodes sooner.
// Contract: a link is made when a node is first asked, and kept. After Stop() no link is made, those that there are end their calls, and LinkTo() gives null.
// Ownership: what it is made with outlives it; links are its own, and stay until it goes. Thread-safety: thread-safe. Source: issue S4, `deploy`.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "cluster/live/replica_table.h"
#include "cluster/models/model_listing.h"
#include "cluster/models/model_peer.h"
#include "cluster/stored_plan.h"
#include "core/status.h"
#include "frontends/deploy_request.h"
#include "server/node_models.h"

namespace evenkeel {

// kConflict: the name is a model's on one node and a graph's on another: neither stands in for the other.
Status CheckOneKind(const std::vector<ReplicaTable::NodeView>& nodes, std::string_view model);
// It tells figures of the model, or of a graph of that name.
bool NodeServes(const ReplicaTable::NodeView& node, std::string_view model);
// A node that drains counts as suspect where calls are routed; it answers all the same.
bool NodeAnswers(const ReplicaTable::NodeView& node, bool own);
// Those that answer and serve it. `nodes`: the own one first.
std::vector<std::string> NodesThatServe(const std::vector<ReplicaTable::NodeView>& nodes,
                                        std::string_view model);
// Null: there is none, or it was taken off.
const ReplicaTable::NodeView* FindNode(const std::vector<ReplicaTable::NodeView>& nodes,
                                       std::string_view name);
// "'a', 'b'"
std::string NamesOf(const std::vector<std::string>& nodes);

// What a request says of where it comes from: the stamp of its plan, if it has one, and its reason.
std::optional<PlanStamp> StampOf(const OrderedBy& by);
std::string ReasonOf(const std::string& why);

class ModelNodes {
 public:
  using Look = std::function<std::vector<ReplicaTable::NodeView>()>;  // the own node first
  using MakeLink = std::function<std::unique_ptr<ModelPeer>(const std::string& node)>;
  ModelNodes(Look look, MakeLink make_link, NodeModels& own)
      : look_(std::move(look)), make_link_(std::move(make_link)), own_(own) {}
  void Stop();

  std::vector<ReplicaTable::NodeView> All() const { return look_(); }
  ModelPeer* LinkTo(const std::string& node);  // null: there is no such node

  struct Holder {
    std::string node;
    ModelListing listing;
  };
  // Of all nodes that answer, which are asked side by side; waits for them. Errors: kNotFound, kConflict (two contents of the name), and those of a node that failed where no other has it.
  Result<std::vector<Holder>> Holders(const std::string& model);

 private:
  const Look look_;
  const MakeLink make_link_;
  NodeModels& own_;

  std::mutex mutex_;  // guards what follows; not held while nodes are asked
  std::map<std::string, std::unique_ptr<ModelPeer>, std::less<>> links_;
  bool stopped_ = false;
};

}  // namespace evenkeel
