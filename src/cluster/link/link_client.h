// This node's way to one other: figures, and calls that are to run there.
//
// Contract: every started call ends with exactly one callback, on a thread of gRPC's; none comes after the destructor returned. A call that the link
//   lost, before or after the other node took it, ends with link_failed: nobody knows whether it ran there.
// Thread-safety: thread-safe, but for destruction, which waits for callbacks and must not run in one.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <string_view>

#include "cluster/link/embedding_message.h"
#include "cluster/link/node_credentials.h"
#include "cluster/link/state_message.h"
#include "cluster/live/node_figures.h"
#include "cluster/stored_plan.h"
#include "core/clock.h"
#include "core/generation.h"
#include "core/infer.h"
#include "core/status.h"
#include "core/tensor.h"

namespace evenkeel {

struct LinkClientOptions {
  std::string address;  // "10.0.0.2:8010", "[::1]:8010"
  size_t max_message_bytes = size_t{64} << 20;
  // Null: nothing is encrypted. Else whoever is at the address has to prove to be `node`.
  const link::NodeCredentials* credentials = nullptr;
  std::string node;
  Duration connect_again = std::chrono::milliseconds(500);  // after a failure, at most
};

// What the other node says of a model: of tensors, or a language model.
struct DescribedModel {
  std::string name, version;
  bool language = false;
  Signature signature;
  LanguageModelInfo info;
};

class LinkClient {
 public:
  explicit LinkClient(const LinkClientOptions& options);
  ~LinkClient();  // cancels what is under way
  LinkClient(const LinkClient&) = delete;
  LinkClient& operator=(const LinkClient&) = delete;

  // Errors of the callbacks' results: kUnavailable (no link), kDeadlineExceeded, kInvalidArgument (no node of ours answered).
  void Tell(const NodeFigures& own, Duration timeout,
            std::function<void(Result<NodeFigures>)> told);
  // Whether the link stands, as far as this end knows: false once the other end's process is gone, and before the first call. Sends nothing.
  bool connected() const;
  // As NodeHost::SetOwnState(), there.
  void SetState(std::string_view state, Duration timeout, std::function<void(Status)> done);
  // As NodeHost::PublishPlan() and Renew(), there.
  void Publish(const std::string& plan, Duration timeout,
               std::function<void(Result<PlanStamp>)> done);
  void Renew(const std::string& request_pem, Duration timeout,
             std::function<void(Result<std::string>)> done);
  // Sends so many bytes for nothing; how long that took, there and back.
  void Probe(size_t bytes, Duration timeout, std::function<void(Result<Duration>)> done);
  void Describe(std::string_view model, std::string_view version, Duration timeout,
                std::function<void(Result<DescribedModel>)> told);

  // A call under way. Cancel() asks for its end, which still comes by the callback; a no-op once that came.
  class Running {
   public:
    virtual ~Running() = default;
    virtual void Cancel() = 0;
    // The same, but it counts as lost by the link.
    virtual void GiveUp() = 0;
  };
  struct InferEnd {
    Status status;
    bool link_failed = false;
    bool given_back = false;  // nothing was computed, and the status means nothing
    Timings timings;
  };
  // `outputs` live during the callback only. `call` is read before this returns.
  using OnInferEnd = std::function<void(const InferEnd& end, std::span<const TensorView> outputs)>;
  struct InferTarget {
    std::string_view model, version;
    bool graph = false;
  };
  // The callback may come before this returns.
  std::shared_ptr<Running> Infer(const InferCall& call, const InferTarget& target,
                                 std::shared_ptr<const Signature> signature, Time now,
                                 OnInferEnd end);

  class GenerationSink {
   public:
    virtual ~GenerationSink() = default;
    virtual void OnStart(int prompt_tokens) = 0;
    virtual void OnDelta(const GenerationDelta& delta) = 0;
    virtual void OnFinish(int choice, FinishReason reason) = 0;
    virtual void OnMoveAsked(const MoveOffer& offer) = 0;
    virtual void OnEnd(const Status& status, bool link_failed, const GenerationUsage& usage) = 0;
    // Instead of OnEnd(): no token came, and another node is to take it.
    virtual void OnGivenBack() = 0;
  };
  // As Infer(); OnEnd() or OnGivenBack() is the last call of the sink, which is held until then.
  std::shared_ptr<Running> Generate(const GenerationCall& call, std::string_view model, Time now,
                                    std::shared_ptr<GenerationSink> sink);

  // As Infer(), for vectors, or scores where the call has a query. Rows as they were told: nobody has counted them.
  using OnEmbeddingEnd = std::function<void(const EmbeddingAnswer& answer, bool link_failed)>;
  std::shared_ptr<Running> Embed(const EmbeddingCall& call, std::string_view model, Time now,
                                 OnEmbeddingEnd end);

  // The state of an answer that runs there, whole: its bytes are those that were sent, and nothing else was looked at. Errors: as NodeHost::ReadState();
  // kInternal (what came breaks the rules), kUnavailable, kDeadlineExceeded.
  void ReadState(const StateRequest& request, Duration timeout,
                 std::function<void(Result<SequenceState>)> done);
  // As NodeHost::TakeState(), there.
  void TakeState(const StateOrder& order, Duration timeout,
                 std::function<void(Result<StateTaken>)> done);

  // What is under way is lost, now: the other node does not answer.
  void GiveUpAll();
  // The same, and waits for the callbacks. Must not run in one.
  void Close();

 private:
  struct Impl;
  template <typename Call, typename Start>
  std::shared_ptr<Running> EmbedBy(const EmbeddingCall& call, std::string_view model, Time now,
                                   OnEmbeddingEnd end, Start start);
  const std::shared_ptr<Impl> impl_;
};

}  // namespace evenkeel
