#include "engines/openvino/output_shapes.h"

#include <algorithm>
#include <openvino/core/shape.hpp>

namespace evenkeel {

bool OutputShapes::Guess::Complete() const {
  return std::ranges::all_of(shapes, [](const std::optional<ov::Shape>& shape) {
    return shape && ov::shape_size(*shape) > 0;
  });
}

// Where only the first axis is free, in the output and in the first input, it nearly always is the batch. A wrong guess is noticed after the run.
void OutputShapes::Predict(std::span<const TensorView> inputs, Guess* guess) const {
  for (const ov::PartialShape& output : outputs_) {
    std::optional<ov::Shape>& shape = guess->shapes.emplace_back();
    if (output.rank().is_dynamic()) continue;
    if (output.is_static()) {
      shape = output.to_shape();
    } else if (output[0].is_dynamic() && !inputs.empty() && inputs[0].shape.rank() > 0 &&
               std::all_of(output.begin() + 1, output.end(),
                           [](const ov::Dimension& d) { return d.is_static(); })) {
      shape.emplace().push_back(static_cast<size_t>(inputs[0].shape[0]));
      for (size_t d = 1; d < output.size(); ++d) {
        shape->push_back(static_cast<size_t>(output[d].get_length()));
      }
    }
  }
}

OutputShapes::Guess& OutputShapes::Find(std::span<const TensorView> inputs) {
  key_.clear();
  for (const TensorView& view : inputs) {
    const auto dims = view.shape.dims();
    key_.append(reinterpret_cast<const char*>(dims.data()), dims.size_bytes());
  }
  auto found = guesses_.find(key_);
  if (found == guesses_.end()) {
    if (guesses_.size() >= kCapacity) DropOldest();
    found = guesses_.emplace(key_, Guess()).first;
    Predict(inputs, &found->second);
  }
  found->second.used = ++clock_;
  return found->second;
}

void OutputShapes::DropOldest() {
  const auto oldest =
      std::ranges::min_element(guesses_, {}, [](const auto& entry) { return entry.second.used; });
  guesses_.erase(oldest);
}

}  // namespace evenkeel
