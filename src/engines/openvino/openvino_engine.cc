#include "engines/openvino/openvino_engine.h"

#include <fcntl.h>
#include <sys/file.h>

#include <algorithm>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <openvino/openvino.hpp>
#include <optional>

#include "core/format.h"
#include "engines/openvino/error_text.h"
#include "engines/openvino/id_ranges.h"
#include "engines/openvino/model_file.h"
#include "engines/openvino/model_signature.h"
#include "engines/openvino/size_runner.h"
#include "ipc/unique_fd.h"

namespace evenkeel {
namespace {

namespace fs = std::filesystem;

constexpr int64_t kMemoryForOwnForms = int64_t{128} << 20;

Status CheckFormat(const fs::path& path) {
  std::error_code error;
  if (fs::is_directory(path, error))
    return Status::Ok();  // TensorFlow SavedModel, or refused by the reader
  const uintmax_t size = fs::file_size(path, error);
  if (error) return InvalidArgument("{}: {}", path.filename().string(), error.message());
  if (size == 0) return InvalidArgument("{}: the file is empty", path.filename().string());
  constexpr std::string_view kSuffixes[] = {".onnx", ".xml",      ".tflite",
                                            ".pb",   ".graphdef", ".pdmodel"};
  if (std::ranges::find(kSuffixes, path.extension().string()) == std::end(kSuffixes)) {
    return InvalidArgument("{}: expected .onnx, .xml, .tflite, .pb, .graphdef or .pdmodel",
                           path.filename().string());
  }
  return Status::Ok();
}

ov::AnyMap PropertiesOf(const EngineOptions& options) {
  ov::AnyMap properties = {
      ov::hint::performance_mode(ov::hint::PerformanceMode::LATENCY),
      ov::hint::allow_auto_batching(
          false),  // batching is the daemon's; and its plugin is not even loaded
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

class OpenVinoEngine final : public Engine {
 public:
  Result<Signature> Load(const EngineOptions& options) override;
  Status Run(std::span<const TensorView> inputs, OutputSink& sink) override;
  nlohmann::json Describe() const override { return facts_; }

 private:
  Status ReadRanges(const EngineOptions& options);
  void ReadFacts(const EngineOptions& options);
  std::unique_ptr<VariantBuilder> MakeBuilder(const EngineOptions& options);

  std::unique_ptr<ov::Core> core_;
  ov::CompiledModel compiled_;
  Signature signature_;
  std::optional<SizeRunner> runner_;
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
      compiled_ = CompileModelFile(*core_, options.path, options.device, PropertiesOf(options));
    }
    auto signature = SignatureOf(compiled_, IsTensorFlowGraph(options.path));
    if (!signature.ok()) return signature.status();
    signature_ = std::move(signature).value();
    if (signature_.outputs.empty()) return InvalidArgument("the model has no outputs");
    EK_RETURN_IF_ERROR(ReadRanges(options));
    runner_.emplace(compiled_, signature_, MakeBuilder(options));
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
  const auto model = ReadModelFile(*core_, options.path);
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

std::unique_ptr<VariantBuilder> OpenVinoEngine::MakeBuilder(const EngineOptions& options) {
  return std::make_unique<VariantBuilder>(*core_, options.path, options.device,
                                          PropertiesOf(options), kMemoryForOwnForms);
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

Status OpenVinoEngine::Run(std::span<const TensorView> inputs, OutputSink& sink) {
  try {
    return runner_->Run(inputs, sink);
  } catch (const std::exception& e) {
    const std::string text = CleanEngineError(e.what(), path_);
    return IsShapeError(e.what()) ? InvalidArgument("{}", text) : Internal("{}", text);
  }
}

}  // namespace

std::unique_ptr<Engine> MakeOpenVinoEngine() { return std::make_unique<OpenVinoEngine>(); }

}  // namespace evenkeel
