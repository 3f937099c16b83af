#include "containers/shape.h"

#include <algorithm>

#include "core/format.h"
#include "core/parse.h"

namespace evenkeel {
namespace {

constexpr int64_t kMiB = int64_t{1} << 20;
constexpr int64_t kMaxMemory = int64_t{1} << 50;

// "2", "0.5", "1.25": thousandths; -1 if it is none of these.
int64_t Thousandths(std::string_view text) {
  int64_t value = 0;
  int places = -1;  // digits after the point
  if (text.empty() || text.size() > 9 || text.front() == '.' || text.back() == '.') return -1;
  for (const char c : text) {
    if (c == '.' && places < 0) {
      places = 0;
    } else if (c >= '0' && c <= '9' && places < 3) {
      value = value * 10 + (c - '0');
      if (places >= 0) ++places;
    } else {
      return -1;
    }
  }
  for (int i = std::max(places, 0); i < 3; ++i) value *= 10;
  return value;
}

// "Nc/SIZE"; the number in thousandths.
struct CoresAndMemory {
  int64_t milli_cores = 0;
  int64_t memory_bytes = 0;
};

std::optional<CoresAndMemory> ParsePair(std::string_view text) {
  const size_t slash = text.find('/');
  if (slash == std::string_view::npos || slash < 2 || text[slash - 1] != 'c') return std::nullopt;
  const int64_t milli = Thousandths(text.substr(0, slash - 1));
  const auto bytes = ParseBytes(text.substr(slash + 1));
  if (milli < 0 || !bytes.ok()) return std::nullopt;
  return CoresAndMemory{milli, *bytes};
}

Status CheckMemory(std::string_view text, int64_t bytes) {
  if (bytes >= kMinShapeMemory && bytes <= kMaxMemory) return Status::Ok();
  return InvalidArgument("shape '{}': expected {} to {} of memory, got {}", Excerpt(text),
                         FormatBytes(kMinShapeMemory), FormatBytes(kMaxMemory), FormatBytes(bytes));
}

Result<GpuShape> ParseGpu(std::string_view whole, std::string_view text) {
  GpuShape gpu;
  const size_t colon = text.find(':');
  const auto malformed = [&] {
    return InvalidArgument("shape '{}': expected gpuN:CORESc/MEMORY after '+', as in gpu0:16c/2GiB",
                           Excerpt(whole));
  };
  if (!text.starts_with("gpu") || colon == std::string_view::npos) return malformed();
  const auto device = ParseInt(text.substr(3, colon - 3), 0, 63);
  const auto pair = ParsePair(text.substr(colon + 1));
  if (!device.ok() || !pair || pair->milli_cores % 1000 != 0) return malformed();
  const int64_t cores = pair->milli_cores / 1000;
  if (cores < 1 || cores > 65'536) {
    return InvalidArgument("shape '{}': expected 1 to 65536 GPU cores, got {}", Excerpt(whole),
                           cores);
  }
  EK_RETURN_IF_ERROR(CheckMemory(whole, pair->memory_bytes));
  gpu.device = static_cast<int>(*device);
  gpu.cores = static_cast<int>(cores);
  gpu.memory_bytes = pair->memory_bytes;
  return gpu;
}

// Powers of two times `unit` up to `most`.
std::vector<int64_t> Doublings(int64_t unit, int64_t most) {
  std::vector<int64_t> sizes;
  for (int64_t size = unit; size <= most; size *= 2) sizes.push_back(size);
  return sizes;
}

std::string FormatCores(int milli_cores) {
  if (milli_cores % 1000 == 0) return std::to_string(milli_cores / 1000);
  std::string text = fmt::format("{}.{:03}", milli_cores / 1000, milli_cores % 1000);
  while (text.back() == '0') text.pop_back();
  return text;
}

}  // namespace

Result<WorkerShape> ParseWorkerShape(std::string_view text) {
  const size_t plus = text.find('+');
  const auto pair = ParsePair(text.substr(0, plus));
  if (!pair) {
    return InvalidArgument("shape '{}': expected CORESc/MEMORY, as in 2c/512MiB or 0.5c/256MiB",
                           Excerpt(text));
  }
  if (pair->milli_cores < kMinMilliCores || pair->milli_cores > kMaxMilliCores) {
    return InvalidArgument("shape '{}': expected 0.1 to 4096 cores", Excerpt(text));
  }
  EK_RETURN_IF_ERROR(CheckMemory(text, pair->memory_bytes));
  WorkerShape shape;
  shape.milli_cores = static_cast<int>(pair->milli_cores);
  shape.memory_bytes = pair->memory_bytes;
  if (plus != std::string_view::npos) {
    auto gpu = ParseGpu(text, text.substr(plus + 1));
    if (!gpu.ok()) return gpu.status();
    shape.gpu = *gpu;
  }
  return shape;
}

std::string FormatWorkerShape(const WorkerShape& shape) {
  std::string text =
      fmt::format("{}c/{}", FormatCores(shape.milli_cores), FormatBytes(shape.memory_bytes));
  if (shape.gpu) {
    text += fmt::format("+gpu{}:{}c/{}", shape.gpu->device, shape.gpu->cores,
                        FormatBytes(shape.gpu->memory_bytes));
  }
  return text;
}

Status CheckFits(const WorkerShape& shape, const HostCapacity& host) {
  if (shape.milli_cores > host.milli_cores) {
    return InvalidArgument("shape {}: this host has {} cores for workers", FormatWorkerShape(shape),
                           FormatCores(host.milli_cores));
  }
  if (shape.memory_bytes > host.memory_bytes) {
    return InvalidArgument("shape {}: this host has {} of memory for workers",
                           FormatWorkerShape(shape), FormatBytes(host.memory_bytes));
  }
  return Status::Ok();
}

std::vector<WorkerShape> ShapesOf(const HostCapacity& host) {
  std::vector<int> cores;
  for (int milli = 500; milli <= host.milli_cores; milli *= 2) cores.push_back(milli);
  const int whole = host.milli_cores / 1000 * 1000;
  if (whole > 0 && std::ranges::find(cores, whole) == cores.end()) cores.push_back(whole);
  std::vector<WorkerShape> shapes;
  for (const int milli : cores) {
    for (const int64_t bytes : Doublings(256 * kMiB, host.memory_bytes)) {
      shapes.push_back({milli, bytes, std::nullopt});
    }
  }
  return shapes;
}

std::vector<WorkerShape> GpuShapesOf(const GpuCapacity& gpu, const HostCapacity& host) {
  const WorkerShape beside{1000, 1024 * kMiB, std::nullopt};
  if (!CheckFits(beside, host).ok()) return {};
  std::vector<int64_t> memory = Doublings(1024 * kMiB, gpu.memory_bytes);
  if (gpu.memory_bytes >= kMinShapeMemory && (memory.empty() || memory.back() != gpu.memory_bytes))
    memory.push_back(gpu.memory_bytes);
  std::vector<WorkerShape> shapes;
  int last = 0;
  for (const int cores : {gpu.cores / 4, gpu.cores / 2, gpu.cores}) {
    if (cores <= last) continue;
    last = cores;
    for (const int64_t bytes : memory) {
      WorkerShape shape = beside;
      shape.gpu = GpuShape{gpu.device, cores, bytes};
      shapes.push_back(shape);
    }
  }
  return shapes;
}

}  // namespace evenkeel
