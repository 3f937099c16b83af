// A language model that several nodes of the cluster serve, and a call to it on its way through one of them.
//
// Contract: as LanguageModel. A call whose node is lost or refuses it before anything of its answer came is begun again on another node, within the
//   retry budget; one that a node gives back goes to another. One that is asked to move goes
//   on elsewhere once another node has what is computed of it: fetched from where it runs, if that takes less there (state_exchange.h), else computed from its tokens, as
//   whenever fetching it fails. One whose node is lost later goes on from its tokens on another, whatever the budget, and the client sees neither a gap nor a repeat.
//   Texts for vectors and scores: routed_embedding.h.
// Thread-safety: as LanguageModel.
#pragma once

#include <cstdint>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "cluster/live/told_answer.h"
#include "server/cluster_node.h"
#include "server/open_calls.h"
#include "server/routed_embedding.h"

namespace evenkeel {

class RoutedGeneration;

class RoutedLanguage final : public LanguageModel,
                             public std::enable_shared_from_this<RoutedLanguage> {
 public:
  // `own`: this node's; null: others only.
  RoutedLanguage(ClusterNode& cluster, std::shared_ptr<const ClusterNode::Known> known,
                 std::shared_ptr<LanguageModel> own)
      : cluster_(cluster), known_(std::move(known)), own_(std::move(own)) {}

  LanguageModelInfo Info() const override { return own_ ? own_->Info() : known_->info; }
  bool reachable() const override { return own_ != nullptr || known_->reachable; }
  void Generate(GenerationCall* call) override;
  void Cancel(GenerationCall* call) override;
  void Embed(EmbeddingCall* call) override;
  void CancelEmbedding(EmbeddingCall* call) override;

 private:
  friend class RoutedGeneration;
  ClusterNode& cluster_;
  const std::shared_ptr<const ClusterNode::Known> known_;
  const std::shared_ptr<LanguageModel> own_;
  OpenCalls<RoutedGeneration> open_;
  OpenCalls<RoutedEmbedding> open_embeddings_;
};

class RoutedGeneration final : public GenerationCall,
                               public LinkClient::GenerationSink,
                               public std::enable_shared_from_this<RoutedGeneration> {
 public:
  RoutedGeneration(std::shared_ptr<RoutedLanguage> model, GenerationCall* call);

  void Start() { Try(Status()); }
  void Cancel();

 private:
  class WarmUp;

  // Of the attempt that runs, here or there; never two at a time.
  void OnStart(int prompt_tokens) override;
  void OnDelta(const GenerationDelta& delta) override;
  void OnFinish(int choice, FinishReason reason) override;
  void Done(const Status& status, const GenerationUsage& usage) override;
  void GivenBack() override;
  void OnGivenBack() override { GivenBack(); }
  void MoveAsked(const MoveOffer& offer) override;
  void OnMoveAsked(const MoveOffer& offer) override { MoveAsked(offer); }
  void OnEnd(const Status& status, bool link_failed, const GenerationUsage& usage) override;

  void Try(const Status& last);
  void End(const Status& status, bool again, const GenerationUsage& usage);
  bool MayTryAgain();
  void TryAgain(const Status& last);
  // The warm-up on another node, begun in that attempt, has ended.
  void Warmed(const ReplicaTable::Choice& choice, uint64_t attempt, bool well);
  // It still runs, in that attempt, for somebody.
  bool Runs(uint64_t attempt) const;
  ReplicaTable::Wanted Wanted() const;
  std::shared_ptr<RoutedGeneration> EndAttempt();
  void Answer(const Status& status, const GenerationUsage& usage);

  const std::shared_ptr<RoutedLanguage> model_;
  ClusterNode& cluster_;
  GenerationCall* const call_;
  std::vector<bool> tried_;
  ReplicaTable::Choice choice_;
  bool started_ = false;   // OnStart() was passed on
  int prompt_tokens_ = 0;  // as the last attempt told
  bool moved_ = false;     // the attempt is on a node that was made ready; no other was asked
  ToldAnswer told_;
  int64_t told_before_ = 0;  // tokens, when the running attempt began
  int given_back_by_ = -1;   // that node takes it if no other does
  std::shared_ptr<RoutedGeneration> self_;

  mutable std::mutex mutex_;  // guards what follows
  bool cancelled_ = false;
  uint64_t attempt_ = 0;  // ended ones
  bool here_ = false;     // the attempt that runs is this node's
  std::shared_ptr<LinkClient::Running> there_;
  bool warming_ = false;  // another node fetches or computes what this answer has, to go on with it
  int moving_to_ = -1;    // the running attempt was cancelled in favour of that node
};

}  // namespace evenkeel
