#include "engines/openvino/shape_runs.h"

#include <algorithm>

namespace evenkeel {

bool ShapeRuns::Run::Complete() const {
  return std::ranges::all_of(outputs, [](const std::optional<ov::Shape>& shape) {
    return shape && ov::shape_size(*shape) > 0;
  });
}

ShapeRuns::ShapeRuns(const ov::CompiledModel& model) {
  for (const auto& port : model.outputs()) output_shapes_.push_back(port.get_partial_shape());
}

// Where only the first axis is free, in the output and in the first input, it nearly always is the batch. A wrong guess is noticed after the run.
void ShapeRuns::Predict(std::span<const TensorView> inputs, Run* run) const {
  for (const ov::PartialShape& shape : output_shapes_) {
    std::optional<ov::Shape>& guess = run->outputs.emplace_back();
    if (shape.rank().is_dynamic()) continue;
    if (shape.is_static()) {
      guess = shape.to_shape();
    } else if (shape[0].is_dynamic() && !inputs.empty() && inputs[0].shape.rank() > 0 &&
               std::all_of(shape.begin() + 1, shape.end(),
                           [](const ov::Dimension& d) { return d.is_static(); })) {
      guess.emplace().push_back(static_cast<size_t>(inputs[0].shape[0]));
      for (size_t d = 1; d < shape.size(); ++d) {
        guess->push_back(static_cast<size_t>(shape[d].get_length()));
      }
    }
  }
}

void ShapeRuns::MakeKey(std::span<const TensorView> inputs) {
  key_.clear();
  for (const TensorView& view : inputs) {
    const auto dims = view.shape.dims();
    key_.append(reinterpret_cast<const char*>(dims.data()), dims.size_bytes());
  }
}

void ShapeRuns::Forget(std::span<const TensorView> inputs) {
  MakeKey(inputs);
  runs_.erase(key_);
}

ShapeRuns::Run& ShapeRuns::Find(std::span<const TensorView> inputs) {
  MakeKey(inputs);
  auto found = runs_.find(key_);
  if (found == runs_.end()) {
    if (runs_.size() >= kCapacity) DropOldest();
    found = runs_.emplace(key_, Run()).first;
    Predict(inputs, &found->second);
  }
  found->second.used = ++clock_;
  return found->second;
}

void ShapeRuns::DropOldest() {
  const auto oldest =
      std::ranges::min_element(runs_, {}, [](const auto& entry) { return entry.second.used; });
  runs_.erase(oldest);
}

}  // namespace evenkeel
