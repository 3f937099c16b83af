#include "engines/openvino/openvino_engine.h"

#include <fcntl.h>
#include <sys/file.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <filesystem>
#include <openvino/openvino.hpp>
#include <optional>

#include "core/format.h"
#include "engines/openvino/error_text.h"
#include "engines/openvino/id_ranges.h"
#include "engines/openvino/model_signature.h"
#include "engines/openvino/shape_runs.h"
#include "engines/openvino/string_tensor.h"
#include "ipc/unique_fd.h"

namespace evenkeel {
namespace {

namespace fs = std::filesystem;

Status CheckFormat(const fs::path& path) {
  std::error_code error;
  if (fs::is_directory(path, error))
    return Status::Ok();  // TensorFlow SavedModel, or refused by the reader
  const uintmax_t size = fs::file_size(path, error);
  if (error) return InvalidArgument("{}: {}", path.filename().string(), error.message());
  if (size == 0) return InvalidArgument("{}: the file is empty", path.filename().string());
  constexpr std::string_view kSuffixes[] = {".onnx", ".xml", ".tflite", ".pb", ".pdmodel"};
  if (std::ranges::find(kSuffixes, path.extension().string()) == std::end(kSuffixes)) {
    return InvalidArgument("{}: expected .onnx, .xml, .tflite, .pb or .pdmodel",
                           path.filename().string());
  }
  return Status::Ok();
}

ov::AnyMap PropertiesOf(const EngineOptions& options) {
  ov::AnyMap properties = {
      ov::hint::performance_mode(ov::hint::PerformanceMode::LATENCY),
      ov::hint::inference_precision(options.bf16 ? ov::element::bf16 : ov::element::f32),
      ov::hint::execution_mode(options.bf16 ? ov::hint::ExecutionMode::PERFORMANCE
                                            : ov::hint::ExecutionMode::ACCURACY)};
  if (!options.cache_dir.empty()) properties.insert(ov::cache_dir(options.cache_dir));
  if (options.device == "CPU") {
    // The worker's affinity says where to run: the engine neither pins nor spreads by itself, and takes as many threads as it is told.
    properties.insert(ov::inference_num_threads(options.threads));
    properties.insert(ov::num_streams(1));
    properties.insert(ov::hint::enable_cpu_pinning(false));
    properties.insert(ov::hint::enable_hyper_threading(true));
  }
  return properties;
}

// Held while a model is compiled into the cache: two workers that start on one model at once must not write one file together, and the second
// finds what the first left. Given up with the process.
ipc::UniqueFd LockCache(const EngineOptions& options) {
  if (options.cache_dir.empty()) return {};
  std::error_code ignored;
  fs::create_directories(options.cache_dir, ignored);
  const std::string name =
      fmt::format("{}/{:016x}.lock", options.cache_dir, std::hash<std::string>()(options.path));
  ipc::UniqueFd lock(::open(name.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600));
  if (lock.get() >= 0) ::flock(lock.get(), LOCK_EX);
  return lock;
}

// Put at both ends of an output before a run. As floats these are NaNs that no computation yields.
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

class OpenVinoEngine final : public Engine {
 public:
  Result<Signature> Load(const EngineOptions& options) override;
  Status Run(std::span<const TensorView> inputs, OutputSink& sink) override;
  nlohmann::json Describe() const override { return facts_; }

 private:
  Status ReadRanges(const EngineOptions& options);
  void ReadFacts(const EngineOptions& options);
  void SetInputs(std::span<const TensorView> inputs, ov::InferRequest& request);
  // Gives the model the sink's memory for the outputs whose shape is known. False: some have to be copied afterwards.
  Result<bool> SetOutputs(ShapeRuns::Run& run, OutputSink& sink);
  // True if an output still has the mark that SetOutputs() put there.
  bool AnyOutputUntouched() const;
  Status CollectOutputs(ShapeRuns::Run& run, OutputSink& sink);
  Status RunPredicted(std::span<const TensorView> inputs, OutputSink& sink);
  Status RunUnpredicted(std::span<const TensorView> inputs, OutputSink& sink);

  std::unique_ptr<ov::Core> core_;
  ov::CompiledModel compiled_;
  Signature signature_;
  std::vector<ov::element::Type> input_types_, output_types_;
  ShapeRuns runs_;
  std::vector<std::span<std::byte>> targets_;  // of the current run: where output i was told to go
  std::string path_;
  nlohmann::json facts_;
};

Result<Signature> OpenVinoEngine::Load(const EngineOptions& options) {
  EK_RETURN_IF_ERROR(CheckFormat(options.path));
  path_ = options.path;
  try {
    core_ = std::make_unique<ov::Core>();
    {
      const ipc::UniqueFd lock = LockCache(options);
      // By path: with a warm cache the model file is then not parsed at all.
      compiled_ = core_->compile_model(options.path, options.device, PropertiesOf(options));
    }
    auto signature = SignatureOf(compiled_);
    if (!signature.ok()) return signature.status();
    signature_ = std::move(signature).value();
    if (signature_.outputs.empty()) return InvalidArgument("the model has no outputs");
    EK_RETURN_IF_ERROR(ReadRanges(options));
    for (const auto& port : compiled_.inputs()) input_types_.push_back(port.get_element_type());
    for (const auto& port : compiled_.outputs()) output_types_.push_back(port.get_element_type());
    runs_ = ShapeRuns(compiled_);
    ReadFacts(options);
  } catch (const std::exception& e) {
    return InvalidArgument("{}", CleanEngineError(e.what(), options.path));
  }
  return signature_;
}

Status OpenVinoEngine::ReadRanges(const EngineOptions& options) {
  const bool any_integer = std::ranges::any_of(compiled_.inputs(), [](const auto& port) {
    return port.get_element_type().is_integral_number();
  });
  // The compiled form has lost the graph; reading it again costs milliseconds, so only where there may be ids.
  if (!any_integer) return Status::Ok();
  const auto model = core_->read_model(options.path);
  const auto ranges = FindIdRanges(*model);
  if (ranges.size() != signature_.inputs.size()) {
    return Internal("the model has {} inputs, compiled {}", ranges.size(),
                    signature_.inputs.size());
  }
  for (size_t i = 0; i < ranges.size(); ++i) {
    signature_.inputs[i].range = ranges[i];
  }
  return Status::Ok();
}

void OpenVinoEngine::ReadFacts(const EngineOptions& options) {
  const auto precision = compiled_.get_property(ov::hint::inference_precision);
  facts_ = {{"name", "openvino"},
            {"version", ov::get_openvino_version().buildNumber},
            {"device", options.device},
            {"precision", precision.get_type_name()},
            {"threads", options.threads}};
  if (!options.cache_dir.empty()) {
    facts_["from_cache"] = compiled_.get_property(ov::loaded_from_cache);
  }
}

void OpenVinoEngine::SetInputs(std::span<const TensorView> inputs, ov::InferRequest& request) {
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

Result<bool> OpenVinoEngine::SetOutputs(ShapeRuns::Run& run, OutputSink& sink) {
  targets_.assign(output_types_.size(), {});
  bool all = true;
  for (size_t i = 0; i < targets_.size(); ++i) {
    const auto& shape = run.outputs[i];
    const ov::element::Type& type = output_types_[i];
    const size_t bytes =
        shape && type != ov::element::string ? ov::shape_size(*shape) * type.size() : 0;
    if (bytes == 0) {
      all = false;
      continue;
    }
    std::byte* to =
        sink.Allocate(static_cast<int>(i), signature_.outputs[i].dtype, ShapeOf(*shape), bytes);
    if (to == nullptr) return TooLarge("no room for the {} bytes of output {}", bytes, i);
    targets_[i] = {to, bytes};
    PutMark(targets_[i]);
    run.request.set_output_tensor(i, ov::Tensor(type, *shape, static_cast<void*>(to)));
  }
  return all;
}

bool OpenVinoEngine::AnyOutputUntouched() const {
  return std::ranges::any_of(targets_,
                             [](auto target) { return !target.empty() && HasMark(target); });
}

Status OpenVinoEngine::CollectOutputs(ShapeRuns::Run& run, OutputSink& sink) {
  std::vector<size_t> unpredictable;
  for (size_t i = 0; i < output_types_.size(); ++i) {
    const ov::Tensor tensor = run.request.get_output_tensor(i);
    const ov::Shape& shape = tensor.get_shape();
    if (shape.size() > kMaxRank) return Unsupported("output {} has {} dimensions", i, shape.size());
    const int index = static_cast<int>(i);
    if (output_types_[i] == ov::element::string) {
      EK_RETURN_IF_ERROR(WriteStrings(tensor, index, ShapeOf(shape), sink));
      continue;
    }
    const size_t bytes = tensor.get_byte_size();
    const auto* data =
        bytes == 0 ? nullptr : static_cast<const std::byte*>(std::as_const(tensor).data());
    const bool as_predicted = run.outputs[i] && shape == *run.outputs[i];
    if (as_predicted && !targets_[i].empty() && data == targets_[i].data()) continue;
    std::byte* to = sink.Allocate(index, signature_.outputs[i].dtype, ShapeOf(shape), bytes);
    if (to == nullptr) return TooLarge("no room for the {} bytes of output {}", bytes, i);
    // The new place may overlap the one that the model was given.
    if (bytes > 0 && to != data) std::memmove(to, data, bytes);
    if (run.outputs[i] && !as_predicted) unpredictable.push_back(i);
    if (!run.outputs[i]) runs_.Learn(run, i, shape, bytes);
  }
  for (const size_t i : unpredictable) runs_.NeverPredict(i);
  return Status::Ok();
}

Status OpenVinoEngine::RunPredicted(std::span<const TensorView> inputs, OutputSink& sink) {
  ShapeRuns::Run& run = runs_.Find(inputs);
  SetInputs(inputs, run.request);
  const auto all = SetOutputs(run, sink);
  if (!all.ok()) return all.status();
  // With one thread, infer() of OpenVINO 2026.4 loses what is thrown inside and returns as if all were well (seen with shapes that do not fit each
  // other, and with a given output that is too small). start_async() does not, but wakes another thread: 10 to 20 us. So infer() runs only where
  // an output that was not written can be seen, and what looks unwritten is run again the honest way.
  if (*all) run.request.infer();
  if (!*all || AnyOutputUntouched()) {
    run.request.start_async();
    run.request.wait();
  }
  return CollectOutputs(run, sink);
}

Status OpenVinoEngine::RunUnpredicted(std::span<const TensorView> inputs, OutputSink& sink) {
  runs_.Forget(inputs);
  ShapeRuns::Run& run = runs_.Find(inputs);
  targets_.assign(output_types_.size(), {});
  SetInputs(inputs, run.request);
  run.request.start_async();
  run.request.wait();
  return CollectOutputs(run, sink);
}

Status OpenVinoEngine::Run(std::span<const TensorView> inputs, OutputSink& sink) {
  std::string error;
  try {
    return RunPredicted(inputs, sink);
  } catch (const std::exception& e) {
    error = e.what();
  }
  // A wrong prediction is one possible reason. If there is another, it shows again without.
  try {
    return RunUnpredicted(inputs, sink);
  } catch (const std::exception& e) {
    error = e.what();
  }
  runs_.Forget(inputs);
  const std::string text = CleanEngineError(error, path_);
  return IsShapeError(error) ? InvalidArgument("{}", text) : Internal("{}", text);
}

}  // namespace

std::unique_ptr<Engine> MakeOpenVinoEngine() { return std::make_unique<OpenVinoEngine>(); }

}  // namespace evenkeel
