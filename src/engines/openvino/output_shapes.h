// Tells from the shapes of a run's inputs what the shapes of its outputs will be, so that the model can be given the memory to write to.
//
// A guess: from the model where it fixes the shape; by the batch axis where only that is free; else from the last run with these input shapes.
// Contract: the kCapacity shapes used last are kept. Thread-safety: single-owner.
#pragma once

#include <cstdint>
#include <openvino/core/partial_shape.hpp>
#include <optional>
#include <span>
#include <string>
#include <unordered_map>
#include <vector>

#include "core/tensor.h"

namespace evenkeel {

class OutputShapes {
 public:
  static constexpr size_t kCapacity = 256;

  struct Guess {
    std::vector<std::optional<ov::Shape>> shapes;  // one an output
    uint64_t used = 0;

    // Every output has a shape, of at least one element.
    bool Complete() const;
  };

  OutputShapes() = default;
  explicit OutputShapes(std::vector<ov::PartialShape> outputs) : outputs_(std::move(outputs)) {}

  // The guess for inputs of these shapes, to be corrected by the caller after the run; valid until the next call.
  Guess& Find(std::span<const TensorView> inputs);

 private:
  void Predict(std::span<const TensorView> inputs, Guess* guess) const;
  void DropOldest();

  std::vector<ov::PartialShape> outputs_;
  std::unordered_map<std::string, Guess> guesses_;  // by the bytes of all input dimensions
  std::string key_;                                 // kept for its memory
  uint64_t clock_ = 0;
};

}  // namespace evenkeel
