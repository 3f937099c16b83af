// Calls that came from another node, while they run here. Internal to link_server.cc.
//
// Ownership: each object is gRPC's and its own: it goes with OnDone(), which comes after its one Finish() and any OnCancel() have ended.
// Thread-safety: thread-safe.
#pragma once

#include <grpcpp/support/server_callback.h>

#include <deque>
#include <memory>
#include <mutex>
#include <span>

#include "cluster/link/link_server.h"
#include "core/generation.h"
#include "core/infer.h"
#include "proto/node.pb.h"

namespace evenkeel {

class ForwardedInfer final : public grpc::ServerUnaryReactor, private InferCall {
 public:
  // Both messages live until OnDone().
  ForwardedInfer(NodeHost& host, const Clock& clock, const node::v1::InferRequest& request,
                 node::v1::InferResponse* response);

 private:
  void Done(const Status& status, std::span<const TensorView> outputs,
            const Timings& timings) override;
  void GivenBack() override;
  void OnCancel() override;
  void OnDone() override { delete this; }

  node::v1::InferResponse* const response_;
  std::shared_ptr<ServedModel> model_;
};

class ForwardedGeneration final : public grpc::ServerWriteReactor<node::v1::GenerateEvent>,
                                  private GenerationCall {
 public:
  ForwardedGeneration(NodeHost& host, const Clock& clock, const node::v1::GenerateRequest& message);

 private:
  void OnStart(int prompt_tokens) override;
  void OnDelta(const GenerationDelta& delta) override;
  void OnFinish(int choice, FinishReason reason) override;
  void Done(const Status& status, const GenerationUsage& usage) override;
  void GivenBack() override;
  void MoveAsked(const MoveOffer& offer) override;
  void OnWriteDone(bool ok) override;
  void OnCancel() override;
  void OnDone() override { delete this; }

  void Send(node::v1::GenerateEvent event, bool last);

  std::shared_ptr<LanguageModel> model_;
  std::mutex mutex_;  // guards what follows; not held while gRPC or the model is called
  std::deque<node::v1::GenerateEvent> unsent_;  // the first is being written, if any is
  size_t unsent_bytes_ = 0;
  bool writing_ = false;
  bool ended_ = false;   // Done() came
  bool broken_ = false;  // the caller is gone: nothing is sent any more
};

}  // namespace evenkeel
