// Calls to models of tensors, as they travel between nodes: by the tensors' names, for indices are one node's own.
//
// Errors: kInvalidArgument with the tensor's name: not in the signature, named twice, an unknown datatype, a rank beyond 8.
// Views point into the message, which must outlive them. Thread-safety: pure.
#pragma once

#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

#include "core/infer.h"
#include "core/served_model.h"
#include "core/status.h"
#include "core/tensor.h"

namespace evenkeel::node::v1 {
class InferRequest;
class InferResponse;
class ModelDescription;
class Outcome;
}  // namespace evenkeel::node::v1

namespace evenkeel {

// REQUIRES: the call's inputs are of `signature`.
void WriteCall(const InferCall& call, std::string_view model, std::string_view version,
               const Signature& signature, Time now, node::v1::InferRequest* message);
// Inputs, deadline and priority of `call`.
Status ReadCall(const node::v1::InferRequest& message, const Signature& signature, Time now,
                InferCall* call);

void WriteAnswer(const Status& status, std::span<const TensorView> outputs, const Timings& timings,
                 const Signature& signature, node::v1::InferResponse* message);
// One view an output of `signature`, in that order and of its datatype; empty where the outcome is an error, which is returned.
Result<std::vector<TensorView>> ReadAnswer(const node::v1::InferResponse& message,
                                           const Signature& signature, Timings* timings);

void WriteOutcome(const Status& status, node::v1::Outcome* message);
// kInternal for a code that is not ours.
Status ReadOutcome(const node::v1::Outcome& message);

void WriteSignature(const Signature& signature, node::v1::ModelDescription* message);
Result<Signature> ReadSignature(const node::v1::ModelDescription& message);
// Equal for equal signatures, on every node; never 0.
uint64_t DigestOf(const Signature& signature);

}  // namespace evenkeel
