#include "engines/openvino/model_runner.h"

#include <algorithm>
#include <array>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <utility>

#include "core/format.h"
#include "engines/openvino/string_tensor.h"

namespace evenkeel {
namespace {

// As floats these are NaNs that no computation yields.
constexpr std::array<std::byte, 8> kMark = {std::byte{0xd5}, std::byte{0xc3}, std::byte{0xa1},
                                            std::byte{0x7f}, std::byte{0x5b}, std::byte{0x9e},
                                            std::byte{0xf4}, std::byte{0x7f}};

void PutMark(std::span<std::byte> output) {
  const size_t size = std::min(output.size(), kMark.size());
  std::memcpy(output.data(), kMark.data(), size);
  std::memcpy(output.data() + output.size() - size, kMark.data(), size);
}

bool HasMark(std::span<const std::byte> output) {
  const size_t size = std::min(output.size(), kMark.size());
  return std::memcmp(output.data(), kMark.data(), size) == 0 ||
         std::memcmp(output.data() + output.size() - size, kMark.data(), size) == 0;
}

Shape ShapeOf(const ov::Shape& from) {
  Shape shape;
  for (const size_t d : from) shape.push_back(static_cast<int64_t>(d));
  return shape;
}

const std::byte* DataOf(const ov::Tensor& tensor) {
  return static_cast<const std::byte*>(std::as_const(tensor).data());
}

// Private aligned memory for the rehearsal.
class Scratch final : public OutputSink {
 public:
  std::byte* Add(size_t bytes) {
    blocks_.emplace_back(static_cast<std::byte*>(std::aligned_alloc(64, (bytes + 64) / 64 * 64)));
    return blocks_.back().get();
  }
  std::byte* Allocate(int, DataType, const Shape&, size_t bytes) override { return Add(bytes); }

 private:
  struct Free {
    void operator()(std::byte* block) const { std::free(block); }
  };
  std::vector<std::unique_ptr<std::byte, Free>> blocks_;
};

}  // namespace

// Inputs that work, and the shapes of their outputs. Lives on for Heal().
struct ModelRunner::Rehearsal {
  Scratch memory;
  std::vector<TensorView> inputs;
  OutputShapes::Guess guess;
};

ModelRunner::~ModelRunner() = default;

ModelRunner::ModelRunner(ov::CompiledModel model, const Signature& signature)
    : model_(std::move(model)),
      plain_(model_.create_infer_request()),
      direct_(model_.create_infer_request()) {
  std::vector<ov::PartialShape> shapes;
  for (const auto& port : model_.inputs()) input_types_.push_back(port.get_element_type());
  for (const auto& port : model_.outputs()) {
    output_types_.push_back(port.get_element_type());
    shapes.push_back(port.get_partial_shape());
  }
  shapes_ = OutputShapes(std::move(shapes));
  for (const TensorSpec& spec : signature.outputs) {
    output_dtypes_.push_back(spec.dtype);
    if (spec.dtype == DataType::kBytes) may_run_direct_ = false;
  }
}

void ModelRunner::SetInputs(std::span<const TensorView> inputs, ov::InferRequest& request) const {
  for (size_t i = 0; i < inputs.size(); ++i) {
    const TensorView& view = inputs[i];
    if (view.dtype == DataType::kBytes) {
      request.set_input_tensor(i, StringTensorOf(view));
      continue;
    }
    const auto dims = view.shape.dims();
    request.set_input_tensor(i, ov::Tensor(input_types_[i], ov::Shape(dims.begin(), dims.end()),
                                           static_cast<const void*>(view.data.data())));
  }
}

Status ModelRunner::RunPlain(std::span<const TensorView> inputs, OutputSink& sink) {
  SetInputs(inputs, plain_);
  plain_.start_async();
  plain_.wait();
  OutputShapes::Guess& guess = shapes_.Find(inputs);
  for (size_t i = 0; i < output_types_.size(); ++i) {
    const ov::Tensor tensor = plain_.get_output_tensor(i);
    const ov::Shape& shape = tensor.get_shape();
    const int index = static_cast<int>(i);
    if (shape.size() > kMaxRank) return Unsupported("output {} has {} dimensions", i, shape.size());
    if (guess.shapes[i] && *guess.shapes[i] != shape) may_run_direct_ = false;
    guess.shapes[i] = shape;
    if (output_dtypes_[i] == DataType::kBytes) {
      EK_RETURN_IF_ERROR(WriteStrings(tensor, index, ShapeOf(shape), sink));
      continue;
    }
    const size_t bytes = tensor.get_byte_size();
    std::byte* to = sink.Allocate(index, output_dtypes_[i], ShapeOf(shape), bytes);
    if (to == nullptr) return TooLarge("no room for the {} bytes of output {}", bytes, i);
    if (bytes > 0) std::memcpy(to, DataOf(tensor), bytes);
  }
  return Status::Ok();
}

Status ModelRunner::SetOutputs(const OutputShapes::Guess& guess, OutputSink& sink) {
  targets_.clear();
  for (size_t i = 0; i < output_types_.size(); ++i) {
    const ov::Shape& shape = *guess.shapes[i];
    const size_t bytes = ov::shape_size(shape) * output_types_[i].size();
    std::byte* to = sink.Allocate(static_cast<int>(i), output_dtypes_[i], ShapeOf(shape), bytes);
    if (to == nullptr) return TooLarge("no room for the {} bytes of output {}", bytes, i);
    targets_.emplace_back(to, bytes);
    PutMark(targets_.back());
    direct_.set_output_tensor(i, ov::Tensor(output_types_[i], shape, static_cast<void*>(to)));
  }
  return Status::Ok();
}

bool ModelRunner::AllWritten(const OutputShapes::Guess& guess) {
  for (size_t i = 0; i < targets_.size(); ++i) {
    const ov::Tensor tensor = direct_.get_output_tensor(i);
    if (tensor.get_shape() != *guess.shapes[i] || DataOf(tensor) != targets_[i].data() ||
        HasMark(targets_[i])) {
      return false;
    }
  }
  return true;
}

bool ModelRunner::Rehearse(std::span<const TensorView> inputs) {
  rehearsal_ = std::make_unique<Rehearsal>();
  rehearsal_->guess = shapes_.Find(inputs);
  for (TensorView view : inputs) {
    std::byte* copy = rehearsal_->memory.Add(view.data.size());
    if (!view.data.empty()) std::memcpy(copy, view.data.data(), view.data.size());
    view.data = {copy, view.data.size()};
    rehearsal_->inputs.push_back(view);
  }
  SetInputs(rehearsal_->inputs, direct_);
  Scratch outputs;
  if (!SetOutputs(rehearsal_->guess, outputs).ok()) return false;
  direct_.infer();
  for (size_t i = 0; i < targets_.size(); ++i) {
    const ov::Tensor expected = plain_.get_output_tensor(i);
    if (direct_.get_output_tensor(i).get_shape() != expected.get_shape() ||
        !std::ranges::equal(targets_[i], std::span(DataOf(expected), expected.get_byte_size()))) {
      return false;
    }
  }
  for (size_t i = 0; i < inputs.size(); ++i) {
    if (!std::ranges::equal(inputs[i].data, rehearsal_->inputs[i].data)) return false;
  }
  return true;
}

bool ModelRunner::Heal() {
  try {
    SetInputs(rehearsal_->inputs, direct_);
    Scratch outputs;
    if (!SetOutputs(rehearsal_->guess, outputs).ok()) return false;
    direct_.infer();
    return AllWritten(rehearsal_->guess);
  } catch (const std::exception&) {
    return false;
  }
}

Status ModelRunner::RunDirect(std::span<const TensorView> inputs, const OutputShapes::Guess& guess,
                              OutputSink& sink, bool* written) {
  try {
    SetInputs(inputs, direct_);
    EK_RETURN_IF_ERROR(SetOutputs(guess, sink));
    direct_.infer();
    *written = AllWritten(guess);
    if (!*written && !Heal()) may_run_direct_ = false;
  } catch (const std::exception&) {
    // Thrown, so not swallowed. The plain run says it again, if it was not the fault of a wrong guess.
  }
  return Status::Ok();
}

Status ModelRunner::Run(std::span<const TensorView> inputs, OutputSink& sink) {
  if (!may_run_direct_) return RunPlain(inputs, sink);
  if (rehearsal_ == nullptr) {
    EK_RETURN_IF_ERROR(RunPlain(inputs, sink));
    if (shapes_.Find(inputs).Complete()) may_run_direct_ = Rehearse(inputs) && may_run_direct_;
    return Status::Ok();
  }
  const OutputShapes::Guess& guess = shapes_.Find(inputs);
  if (!guess.Complete()) return RunPlain(inputs, sink);
  bool written = false;
  EK_RETURN_IF_ERROR(RunDirect(inputs, guess, sink, &written));
  return written ? Status::Ok() : RunPlain(inputs, sink);
}

}  // namespace evenkeel
