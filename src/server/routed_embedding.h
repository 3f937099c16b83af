// A call for vectors or scores, in a cluster, on its way to a node that has the model.
//
// Contract: as RoutedInfer's: a call whose node is lost, or refuses it, is run on another one that was not tried yet, while the retry budget and the
//   deadline allow; nothing is told before the whole answer is there. The choice is by the same utility: what its texts take, by their
//   length, where the node would come to them.
// Thread-safety: as LanguageModel.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <vector>

#include "server/cluster_node.h"

namespace evenkeel {

class RoutedEmbedding final : public EmbeddingCall,
                              public std::enable_shared_from_this<RoutedEmbedding> {
 public:
  // `own`: this node's model; null: others only. `answered` is called once, just before the call's Done().
  RoutedEmbedding(ClusterNode& cluster, std::shared_ptr<const ClusterNode::Known> known,
                  std::shared_ptr<LanguageModel> own, EmbeddingCall* call,
                  std::function<void()> answered);

  void Start() { Try(Status()); }
  void Cancel();

 private:
  void Done(const Status& status, const std::vector<std::vector<float>>& rows,
            int prompt_tokens) override;
  ReplicaTable::Wanted Wanted() const;
  // Runs it on a node that was not tried; `last` is how the one before ended.
  void Try(const Status& last);
  void RunHere();
  void RunThere(int node);
  // Takes the end of the current attempt: answers, or tries elsewhere.
  void End(const Status& status, bool again, const std::vector<std::vector<float>>& rows,
           int prompt_tokens);
  bool MayTryAgain() const;
  void Answer(const Status& status, const std::vector<std::vector<float>>& rows, int prompt_tokens);

  ClusterNode& cluster_;
  const std::shared_ptr<const ClusterNode::Known> known_;
  const std::shared_ptr<LanguageModel> own_;
  EmbeddingCall* const call_;
  const std::function<void()> answered_;
  std::vector<bool> tried_;
  ReplicaTable::Choice choice_;
  std::shared_ptr<RoutedEmbedding> self_;  // until the attempt ended

  mutable std::mutex mutex_;  // guards what follows
  bool cancelled_ = false;
  uint64_t attempt_ = 0;  // ended ones
  bool here_ = false;     // the attempt that runs is this node's
  std::shared_ptr<LinkClient::Running> there_;
};

}  // namespace evenkeel
