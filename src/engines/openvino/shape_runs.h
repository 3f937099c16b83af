// Inference requests of one compiled model, one for each combination of input shapes in use.
//
// Why: a request that meets another batch size than last time prepares itself anew; one a size keeps what it prepared. And with the shapes of the
//   inputs known, those of the outputs are too, from the last run with these shapes: then the model can be given the memory to write to.
// Contract: the kCapacity shapes used last are kept. Find() never fails for reasons of ours; the vendor's exceptions pass through.
// Thread-safety: single-owner.
#pragma once

#include <cstdint>
#include <openvino/runtime/compiled_model.hpp>
#include <openvino/runtime/infer_request.hpp>
#include <optional>
#include <span>
#include <string>
#include <unordered_map>
#include <vector>

#include "core/tensor.h"

namespace evenkeel {

class ShapeRuns {
 public:
  static constexpr size_t kCapacity = 128;

  struct Run {
    ov::InferRequest request;
    std::vector<std::optional<ov::Shape>>
        outputs;  // what each output's shape will be, as far as known
    uint64_t used = 0;
  };

  ShapeRuns() = default;
  explicit ShapeRuns(ov::CompiledModel model);

  // The run for inputs of these shapes; valid until the next call.
  Run& Find(std::span<const TensorView> inputs);
  // Drops the run for these shapes: after a failure a request is not used again.
  void Forget(std::span<const TensorView> inputs);
  // Output `index` turned out not to follow from the input shapes: it is not predicted any more, and all requests are made anew.
  void NeverPredict(size_t index);
  // Learns the shape that a run with these inputs gave.
  void Learn(Run& run, size_t index, const ov::Shape& shape, size_t bytes);

 private:
  void Predict(std::span<const TensorView> inputs, Run* run) const;
  void DropOldest();
  // Sets key_.
  void MakeKey(std::span<const TensorView> inputs);

  ov::CompiledModel model_;
  std::vector<ov::PartialShape> output_shapes_;
  std::vector<bool> predictable_;
  std::unordered_map<std::string, Run> runs_;
  std::string key_;  // kept for its memory
  uint64_t clock_ = 0;
};

}  // namespace evenkeel
