// A model of tensors that several nodes of the cluster serve, and a call to it on its way to one of them.
//
// Contract: as ServedModel; good for one call, as a Lease. A call whose node is lost, or refuses it, is run on another one that was not tried
//   yet (one of a graph only where its node was lost: a refusal may be its last step's), while the retry budget and the deadline allow: running a call twice does no harm, for models keep nothing between calls. A node may give a
//   waiting call back once; then another takes it, or that one after all.
// Thread-safety: as ServedModel.
#pragma once

#include <cstdint>
#include <memory>
#include <mutex>
#include <span>
#include <string>
#include <vector>

#include "server/cluster_node.h"

namespace evenkeel {

class RoutedInfer;

class RoutedModel final : public ServedModel {
 public:
  // `own`: this node's, to hand it one call; null: others only.
  RoutedModel(ClusterNode& cluster, std::string name,
              std::shared_ptr<const ClusterNode::Known> known, std::shared_ptr<ServedModel> own);
  ~RoutedModel() override;

  const std::string& name() const override { return name_; }
  const std::string& version() const override { return known_->version; }
  const Signature& signature() const override {
    return own_ ? own_->signature() : *known_->signature;
  }
  bool calls_others() const override { return own_ ? own_->calls_others() : known_->graph; }
  bool reachable() const override { return own_ != nullptr || known_->reachable; }
  void Infer(InferCall* call) override;
  void Cancel(InferCall* call) override;

 private:
  ClusterNode& cluster_;
  const std::string name_;
  const std::shared_ptr<const ClusterNode::Known> known_;
  const std::shared_ptr<ServedModel> own_;
  std::mutex mutex_;  // guards routed_
  std::shared_ptr<RoutedInfer> routed_;
};

class RoutedInfer final : public InferCall, public std::enable_shared_from_this<RoutedInfer> {
 public:
  RoutedInfer(ClusterNode& cluster, std::string model,
              std::shared_ptr<const ClusterNode::Known> known, std::shared_ptr<ServedModel> own,
              std::shared_ptr<const Signature> signature, InferCall* call);

  void Start() { Try(Status()); }
  void Cancel();

 private:
  void Done(const Status& status, std::span<const TensorView> outputs,
            const Timings& timings) override;
  void GivenBack() override;
  // Runs it on a node that was not tried; `last` is how the one before ended.
  void Try(const Status& last);
  void RunHere();
  void RunThere(int node);
  // Takes the end of the current attempt: answers, or tries elsewhere.
  void End(const Status& status, bool again, std::span<const TensorView> outputs,
           const Timings& timings);
  bool MayTryAgain() const;
  std::shared_ptr<RoutedInfer> EndAttempt();

  ClusterNode& cluster_;
  const std::string model_;
  const std::shared_ptr<const ClusterNode::Known> known_;
  std::shared_ptr<ServedModel> own_;
  const std::shared_ptr<const Signature> signature_;
  InferCall* const call_;
  std::vector<bool> tried_;
  ReplicaTable::Choice choice_;
  int given_back_by_ = -1;             // that node takes it if no other does
  std::shared_ptr<RoutedInfer> self_;  // until the call is answered

  mutable std::mutex mutex_;  // guards what follows
  bool cancelled_ = false;
  uint64_t attempt_ = 0;               // ended ones
  std::shared_ptr<ServedModel> here_;  // the attempt that runs
  std::shared_ptr<LinkClient::Running> there_;
};

}  // namespace evenkeel
