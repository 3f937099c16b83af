#include "engines/openvino/shape_runs.h"

#include <algorithm>

namespace evenkeel {

ShapeRuns::ShapeRuns(ov::CompiledModel model) : model_(std::move(model)) {
  for (const auto& port : model_.outputs()) {
    output_shapes_.push_back(port.get_partial_shape());
    predictable_.push_back(true);
  }
}

// Where only the first axis is free, in the output and in the first input, it nearly always is the batch: so even the first run needs no copy.
// A wrong guess is noticed after the run (the engine looks at the shape it got).
void ShapeRuns::Predict(std::span<const TensorView> inputs, Run* run) const {
  for (size_t i = 0; i < output_shapes_.size(); ++i) {
    const ov::PartialShape& shape = output_shapes_[i];
    std::optional<ov::Shape>& predicted = run->outputs.emplace_back();
    if (!predictable_[i]) continue;
    if (shape.is_static()) {
      predicted = shape.to_shape();
    } else if (shape[0].is_dynamic() && !inputs.empty() && inputs[0].shape.rank() > 0 &&
               std::all_of(shape.begin() + 1, shape.end(),
                           [](const ov::Dimension& d) { return d.is_static(); })) {
      predicted.emplace().push_back(static_cast<size_t>(inputs[0].shape[0]));
      for (size_t d = 1; d < shape.size(); ++d) {
        predicted->push_back(static_cast<size_t>(shape[d].get_length()));
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
    Run run;
    run.request = model_.create_infer_request();
    Predict(inputs, &run);
    found = runs_.emplace(key_, std::move(run)).first;
  }
  found->second.used = ++clock_;
  return found->second;
}

void ShapeRuns::DropOldest() {
  const auto oldest =
      std::ranges::min_element(runs_, {}, [](const auto& entry) { return entry.second.used; });
  runs_.erase(oldest);
}

void ShapeRuns::NeverPredict(size_t index) {
  predictable_[index] = false;
  runs_.clear();
}

void ShapeRuns::Learn(Run& run, size_t index, const ov::Shape& shape, size_t bytes) {
  if (!predictable_[index]) return;
  run.outputs[index] = shape;
  // Memory that the request keeps for an output it will not write there again. Many batch sizes times large outputs add up to gigabytes.
  constexpr size_t kKeep = size_t{64} << 10;
  if (bytes > kKeep) run.request = model_.create_infer_request();
}

}  // namespace evenkeel
