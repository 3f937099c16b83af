#include "profiling/model_profile.h"

#include <algorithm>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <utility>

#include "containers/cgroup.h"
#include "core/format.h"
#include "core/parse.h"
#include "profiling/model_digest.h"

namespace evenkeel {
namespace {

constexpr size_t kMaxShapes = 256;
constexpr size_t kMadeUpRows = 2048;

std::vector<std::string> Words(const std::string& text) {
  std::vector<std::string> words;
  for (size_t at = 0; at <= text.size();) {
    const size_t end = std::min(text.find(',', at), text.size());
    words.push_back(text.substr(at, end - at));
    at = end + 1;
  }
  return words;
}

bool HoldsCores(Rung rung) { return rung >= Rung::kCgroup; }

// The method's A2 holds for the sweep too: a shape of the other class says nothing of what the model may run on.
Status CheckClass(const WorkerShape& shape, const HostSize& host, DeviceClass device) {
  if (!shape.gpu) {
    if (device != DeviceClass::kGpu) return Status::Ok();
    return InvalidArgument("{}: the model is of class gpu", FormatWorkerShape(shape));
  }
  if (host.gpu_cores == 0) {
    return InvalidArgument("{}: {}", FormatWorkerShape(shape),
                           device == DeviceClass::kCpu
                               ? "the model is of class cpu, and uses no GPU"
                               : "this machine has no GPU that a worker could use");
  }
  if (shape.gpu->device != 0 || shape.gpu->cores > host.gpu_cores ||
      shape.gpu->memory_bytes > host.gpu_memory_bytes) {
    return InvalidArgument("{}: the accelerator is gpu0:{}", FormatWorkerShape(shape),
                           FormatDeviceSize({host.gpu_cores, host.gpu_memory_bytes}));
  }
  return Status::Ok();
}

std::string EngineText(const std::string& json) {
  const auto facts = nlohmann::json::parse(json, nullptr, /*allow_exceptions=*/false);
  if (!facts.is_object()) return "engine";
  return facts.value("name", "engine") + " " + facts.value("version", "");
}

}  // namespace

HostSize HostFor(Rung rung, const std::vector<int>& worker_cpus) {
  HostSize host = ThisHost();
  if (rung >= Rung::kCgroup) {
    if (const auto groups = CgroupHost::Detect(); groups.ok()) {
      host.milli_cores = groups->Capacity().milli_cores;
      host.memory_bytes = groups->Capacity().memory_bytes;
    }
  }
  if (!worker_cpus.empty())
    host.milli_cores = std::min(host.milli_cores, 1000 * static_cast<int>(worker_cpus.size()));
  return host;
}

Result<std::vector<CellShape>> ShapesToSweep(const std::optional<std::string>& text, Rung rung,
                                             const HostSize& host, DeviceClass device) {
  const HostCapacity capacity{host.milli_cores, host.memory_bytes};
  std::vector<CellShape> shapes;
  if (!text) {
    for (const WorkerShape& shape : ShapesOf(capacity)) {
      if (device == DeviceClass::kGpu) break;
      if (HoldsCores(rung) || shape.whole_cores()) shapes.push_back(ToCellShape(shape));
    }
    if (device != DeviceClass::kCpu && host.gpu_cores > 0) {
      for (const WorkerShape& shape :
           GpuShapesOf({0, host.gpu_cores, host.gpu_memory_bytes}, capacity))
        shapes.push_back(ToCellShape(shape));
    }
    if (shapes.empty()) return InvalidArgument("this host holds no shape of a container");
    return shapes;
  }
  for (const std::string& word : Words(*text)) {
    const auto shape = ParseWorkerShape(word);
    if (!shape.ok()) return shape.status();
    EK_RETURN_IF_ERROR(CheckFits(*shape, capacity));
    EK_RETURN_IF_ERROR(CheckClass(*shape, host, device));
    if (!HoldsCores(rung) && !shape->whole_cores()) {
      return InvalidArgument(
          "{}: the rung '{}' cannot hold a container to a part of a core; try --runtime cgroup",
          FormatWorkerShape(*shape), NameOf(rung));
    }
    const CellShape cell = ToCellShape(*shape);
    if (std::ranges::find(shapes, cell) == shapes.end()) shapes.push_back(cell);
  }
  if (shapes.size() > kMaxShapes)
    return InvalidArgument("expected at most {}, got {}", kMaxShapes, shapes.size());
  return shapes;
}

Result<std::vector<CellShape>> ShapesOfClasses(const std::optional<std::string>& text, Rung rung,
                                               const HostSize& host, DeviceClass device) {
  std::optional<std::string> cpu, gpu;
  for (const std::string& word : text ? Words(*text) : std::vector<std::string>()) {
    const auto shape = ParseWorkerShape(word);
    if (!shape.ok()) return shape.status();
    std::optional<std::string>& list = shape->gpu ? gpu : cpu;
    list = list ? *list + "," + word : word;
  }
  std::vector<CellShape> shapes;
  if (device != DeviceClass::kGpu) {
    auto found = ShapesToSweep(cpu, rung, host, DeviceClass::kCpu);
    if (!found.ok()) return found;
    shapes = std::move(*found);
  }
  if (device == DeviceClass::kCpu || (host.gpu_cores == 0 && device == DeviceClass::kAuto))
    return shapes;
  const auto found = ShapesToSweep(gpu, rung, host, DeviceClass::kGpu);
  // A device whose driver tells no memory has no shapes.
  if (!found.ok() && (gpu || shapes.empty())) return found.status();
  if (found.ok()) shapes.insert(shapes.end(), found->begin(), found->end());
  return shapes;
}

std::string TableDevice(const std::optional<EmulatedGpu>& emulated, std::string_view gpu_device) {
  if (emulated) return "CPU+EMULATED " + FormatEmulatedGpu(*emulated);
  return fmt::format("CPU+{}", gpu_device);
}

Result<std::vector<int>> BatchesToSweep(const std::optional<std::string>& text,
                                        const Signature& signature, int most) {
  const int largest = signature.batched ? std::min(signature.max_batch, most) : 1;
  std::vector<int> batches;
  if (!text) {
    for (int rows = 1; rows < largest; rows *= 2) batches.push_back(rows);
    batches.push_back(largest);
    return batches;
  }
  for (const std::string& word : Words(*text)) {
    const auto rows = ParseInt(word, 1, 1 << 16);
    if (!rows.ok()) return rows.status();
    if (*rows > largest) {
      return InvalidArgument("{}: {}", *rows,
                             signature.batched
                                 ? fmt::format("the model takes at most {} rows", largest)
                                 : std::string("the model has no batch axis"));
    }
    batches.push_back(static_cast<int>(*rows));
  }
  std::ranges::sort(batches);
  batches.erase(std::unique(batches.begin(), batches.end()), batches.end());
  return batches;
}

std::vector<Precision> PrecisionsToSweep(const ModelConfig& model, const Machine& machine) {
  if (!model.precision_auto) return {model.precision};
  if (!machine.bf16) return {Precision::kF32};
  return {Precision::kF32, Precision::kBf16};
}

Result<TableKey> TableKeyOf(const ModelConfig& model, const HostSize& host, Rung rung,
                            const std::string& engine, std::string_view device) {
  auto digest = ModelDigest(model);
  if (!digest.ok()) return digest.status();
  return TableKey{model.name, std::move(*digest), ThisMachine(host).fingerprint,
                  fmt::format("{} {} {}", NameOf(rung), device, EngineText(engine))};
}

CellRunnerOptions CellsOf(const ModelConfig& model, const std::string& libexec,
                          const std::string& cache) {
  CellRunnerOptions options;
  options.model = model;
  options.libexec = libexec;
  // What would be ended in service is no figure.
  if (model.hang_timeout > Duration::zero())
    options.run_timeout = std::min(options.run_timeout, model.hang_timeout);
  if (cache.empty()) return options;
  std::error_code error;
  std::filesystem::create_directories(cache, error);
  if (!error) options.cache = cache;
  return options;
}

std::optional<RowPool> RowsFromSampler(std::span<const SampleSet> sets, const Signature& signature,
                                       size_t least, std::vector<std::string>* warnings) {
  std::optional<RowPool> best;
  uint64_t most = 0;
  for (const SampleSet& set : sets) {
    if (set.rows.size() < std::max<size_t>(1, least) || (best && set.seen <= most)) continue;
    auto pool = RowPool::FromSamples(signature, set);
    if (!pool.ok()) {
      warnings->push_back("samples are passed over: " + pool.status().message());
      continue;
    }
    most = set.seen;
    best = std::move(*pool);
  }
  return best;
}

Result<RowPool> MadeUpRows(const Signature& signature) {
  return RowPool::FromSignature(signature, kMadeUpRows, /*seed=*/1);
}

bool InputsStand(std::string_view kept, std::string_view now) {
  return kept == now || kept == kFromSamples;
}

PrecisionChoice PrecisionFor(const ModelConfig& model, const LoadRows& rows, bool sampled) {
  const PrecisionRule fixed =
      model.precision == Precision::kBf16 ? PrecisionRule::kBf16 : PrecisionRule::kF32;
  return SelectPrecision(rows, model.precision_auto ? PrecisionRule::kAuto : fixed, model.tolerance,
                         sampled);
}

namespace {

// Whether a row ran out of its device's memory, not of its container's: that the kernel says by killing, or the figures do.
bool RanOutOnDevice(const LoadRow& row) {
  const bool of_container = row.detail.starts_with("signal ") || row.detail.starts_with("has ");
  return row.cell.shape.gpu() && !of_container;
}

// Of rows that all ran out of memory.
std::string MemoryAdvice(const LoadRows& rows) {
  int64_t most = 0;            // of container memory that did not suffice
  int64_t most_on_device = 0;  // of device memory
  for (const LoadRow& row : rows) {
    if (row.implied) continue;  // by a row that says more
    if (RanOutOnDevice(row)) {
      most_on_device = std::max(most_on_device, row.cell.shape.gpu_memory_bytes);
    } else {
      most = std::max(most, row.cell.shape.memory_bytes);
    }
  }
  const std::string device =
      fmt::format("device memory than any shape has (largest: {})", FormatBytes(most_on_device));
  if (most == 0) {
    return fmt::format(
        "the model needs more {}: give larger shares of the device, or serve it on a larger device",
        device);
  }
  return fmt::format(
      "the model needs more memory than any shape has (largest: {}){}: give larger shapes, or "
      "serve it on a machine with more memory",
      FormatBytes(most), most_on_device > 0 ? ", and more " + device : "");
}

}  // namespace

std::optional<std::string> AdviceFor(const LoadRows& rows) {
  if (rows.empty()) return std::nullopt;
  bool all_oom = true;
  for (const LoadRow& row : rows) {
    if (row.outcome == CellOutcome::kOk) return std::nullopt;
    all_oom = all_oom && row.outcome == CellOutcome::kOom;
  }
  if (all_oom) return MemoryAdvice(rows);
  return fmt::format("no cell gave a figure; the first: {} ({})", NameOf(rows.front().outcome),
                     rows.front().detail);
}

}  // namespace evenkeel
