// What a model takes and gives: the engine's word and the settings' word brought together.
//
// Thread-safety: thread-safe.
#pragma once

#include "core/model_config.h"
#include "core/status.h"
#include "core/tensor.h"

namespace evenkeel {

inline constexpr int kDefaultMaxBatch = 64;

// `from_engine` with the settings put in: data types and shapes must be compatible, fixed sizes narrow dynamic axes, ranges
// narrow the engine's, labels are added.
//
// Batched is what has a batch axis on every input and output:
// - declared (`batch_axis_declared`): axis 0 of each must be dynamic, or fixed at max_batch. A fixed axis keeps its size in
//   the spec's shape: the engine takes exactly max_batch rows there, and fewer must be filled up.
// - else axis 0 of each is dynamic, unless `no_batch_axis`.
// max_batch is the settings', or kDefaultMaxBatch; 1 when not batched.
// Errors (kInvalidArgument, naming the tensor and both sides): settings of a tensor that the model does not have, data types
// or shapes that differ, a declared batch axis that is not there; tensor names that no protocol can carry (empty, repeated,
// not UTF-8, over 1,024 bytes); a model without inputs or outputs.
Result<Signature> ResolveSignature(const ModelConfig& config, Signature from_engine);

}  // namespace evenkeel
