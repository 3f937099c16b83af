// One inference over gRPC without gRPC: request bytes to an InferCall, outputs to response bytes.
// Shared by ModelInfer and the requests of ModelStreamInfer.
//
// Use: Begin(), then ServedModel::Infer(call); in its Done(), Prepare() and Write(). What Begin()
// puts into the call points into the
//   request's slices and into *this.
// Contract: acts on the parameters priority, timeout (microseconds), classification; refuses
// sequences and shared memory; ignores
//   others. Inputs and outputs are matched by name here; whether they fit the signature is the
//   scheduler's to say.
// Thread-safety: thread-compatible.
#pragma once

#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "core/infer.h"
#include "frontends/classification.h"
#include "frontends/grpc_response.h"
#include "frontends/grpc_wire.h"
#include "frontends/guarded_service.h"

namespace evenkeel {

class GrpcExchange {
 public:
  // Sets the call's inputs and priority, and moves its deadline forward to parameters.timeout after
  // call->arrived. `slices` must stay until the call is done. Errors: those of reading the request,
  // of GuardedService::Find, and kInvalidArgument or kUnsupported for what it asks for.
  Status Begin(const GuardedService& service, std::span<const ByteSpan> slices, InferCall* call);

  // REQUIRES: Begin() succeeded.
  ServedModel& model() { return *model_; }
  // The request's id, as far as it was read.
  std::string_view id() const { return request_.id; }

  // Lays out the response and returns its size. `outputs` as InferCall::Done() gets them; they must
  // live until Write().
  Result<size_t> Prepare(std::span<const TensorView> outputs, bool in_stream);
  // REQUIRES: Prepare() succeeded. Writes as many bytes as it said.
  void Write(std::byte* out) const { writer_->Write(out); }

 private:
  struct Requested {
    uint32_t spec = 0;
    int64_t classes = 0;  // 0: the tensor itself
  };

  Status Fill(std::span<const ByteSpan> slices, InferCall* call);
  Status ReadParameters(InferCall* call) const;
  Status AddInput(std::span<const ByteSpan> slices, size_t index, InferCall* call);
  Status AddOutput(const WireTensor& output);

  WireInferRequest request_;
  CallArena arena_;
  std::shared_ptr<ServedModel> model_;
  std::vector<Requested> requested_;  // empty: every output
  std::vector<Classification> classified_;
  WireInferResponse response_;
  std::optional<InferResponseWriter> writer_;
};

}  // namespace evenkeel
