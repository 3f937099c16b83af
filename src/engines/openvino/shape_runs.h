// Inference requests of one compiled model, one for each combination of input shapes in use.
//
// Why: a request that meets another batch size than last time prepares itself anew; one a size keeps what it prepared. And with the shapes of the
//   inputs known, those of the outputs mostly are too: then the model can be given the memory to write to.
// Contract: the kCapacity shapes used last are kept. The vendor's exceptions pass through.
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
    std::optional<ov::InferRequest> request;        // made by the first direct run
    std::vector<std::optional<ov::Shape>> outputs;  // the guess of each output's shape
    uint64_t used = 0;

    // Every output has a guess, of at least one byte.
    bool Complete() const;
  };

  ShapeRuns() = default;
  explicit ShapeRuns(const ov::CompiledModel& model);

  // The run for inputs of these shapes; valid until the next call.
  Run& Find(std::span<const TensorView> inputs);
  void Forget(std::span<const TensorView> inputs);
  void Clear() { runs_.clear(); }

 private:
  void Predict(std::span<const TensorView> inputs, Run* run) const;
  void DropOldest();
  // Sets key_.
  void MakeKey(std::span<const TensorView> inputs);

  std::vector<ov::PartialShape> output_shapes_;
  std::unordered_map<std::string, Run> runs_;
  std::string key_;  // kept for its memory
  uint64_t clock_ = 0;
};

}  // namespace evenkeel
