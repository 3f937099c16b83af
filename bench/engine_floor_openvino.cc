// The limit that served figures are compared with: the engine alone, in a plain loop in one process, at one batch size.
//
//   engine_floor_openvino --model FILE [--batch 8] [--seconds 2] [--threads 1] [--precision f32|bf16] [--dim 32]
// Prints one JSON object: items/s over the whole time, and the median, 99th percentile and least time of a run. `--dim` stands in for free dimensions other than
// the batch. Inputs are random, ids within the range that the graph tells. Pin it with taskset.
#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <nlohmann/json.hpp>
#include <random>
#include <string>
#include <vector>

#include "core/clock.h"
#include "engines/arena_sink.h"
#include "engines/openvino/openvino_engine.h"

namespace {

using namespace evenkeel;

struct Flags {
  std::string model, precision = "f32";
  int64_t batch = 8, dim = 32;
  double seconds = 2;
  int threads = 1;
};

bool ParseFlags(int argc, char** argv, Flags* flags) {
  if (argc % 2 == 0) return false;
  for (int i = 1; i + 1 < argc; i += 2) {
    const std::string flag = argv[i];
    const char* value = argv[i + 1];
    if (flag == "--model")
      flags->model = value;
    else if (flag == "--precision")
      flags->precision = value;
    else if (flag == "--batch")
      flags->batch = std::atoll(value);
    else if (flag == "--dim")
      flags->dim = std::atoll(value);
    else if (flag == "--seconds")
      flags->seconds = std::atof(value);
    else if (flag == "--threads")
      flags->threads = std::atoi(value);
    else
      return false;
  }
  return !flags->model.empty() && flags->batch >= 1 && flags->dim >= 1 && flags->threads >= 1;
}

// 64-byte aligned memory.
struct Block {
  explicit Block(size_t bytes)
      : size((bytes + 63) / 64 * 64), data(static_cast<std::byte*>(std::aligned_alloc(64, size))) {}
  struct Free {
    void operator()(std::byte* p) const { std::free(p); }
  };
  size_t size;
  std::unique_ptr<std::byte, Free> data;
};

void Fill(const TensorSpec& spec, std::byte* data, size_t bytes, std::mt19937* random) {
  const size_t element = ElementSize(spec.dtype);
  for (size_t at = 0; at < bytes; at += element) {
    if (spec.dtype == DataType::kFp32) {
      const float value = std::uniform_real_distribution<float>(-1, 1)(*random);
      std::memcpy(data + at, &value, sizeof value);
      continue;
    }
    // Small whole numbers are good ids everywhere; their low bytes lie first.
    const int64_t high = std::clamp<int64_t>(spec.range ? spec.range->hi : 1, 0, 1 << 20);
    const int64_t value =
        element == 1 ? 1 : static_cast<int64_t>((*random)() % static_cast<uint64_t>(high + 1));
    std::memset(data + at, 0, element);
    std::memcpy(data + at, &value, std::min<size_t>(element, sizeof value));
  }
}

int Measure(const Flags& flags) {
  const auto engine = MakeOpenVinoEngine();
  const SteadyClock& clock = SteadyClock::Instance();
  const Time load_start = clock.Now();
  auto signature = engine->Load({flags.model, "CPU", flags.threads, flags.precision == "bf16", ""});
  if (!signature.ok()) {
    std::fprintf(stderr, "%s\n", signature.status().ToString().c_str());
    return 1;
  }
  const double load_s = Seconds(clock.Now() - load_start);

  std::mt19937 random(1);
  std::vector<Block> blocks;
  std::vector<TensorView> inputs;
  for (const TensorSpec& spec : signature->inputs) {
    TensorView view{static_cast<uint32_t>(inputs.size()), spec.dtype, spec.shape, {}};
    for (int d = 0; d < view.shape.rank(); ++d) {
      if (view.shape[d] == kDynamic) view.shape[d] = d == 0 ? flags.batch : flags.dim;
    }
    auto bytes = DenseBytes(spec.dtype, view.shape);
    if (!bytes.ok()) {
      std::fprintf(stderr, "%s\n", bytes.status().ToString().c_str());
      return 1;
    }
    const Block& block = blocks.emplace_back(std::max<size_t>(*bytes, 1));
    Fill(spec, block.data.get(), *bytes, &random);
    view.data = {block.data.get(), *bytes};
    inputs.push_back(view);
  }
  const Block arena(size_t{64} << 20);

  std::vector<double> run_us;
  const auto run = [&]() -> Status {
    ArenaSink sink({arena.data.get(), arena.size}, signature->outputs.size());
    return engine->Run(inputs, sink);
  };
  Status status;
  for (int i = 0; i < 20 && status.ok(); ++i) status = run();
  const Time start = clock.Now();
  const auto length =
      std::chrono::duration_cast<Duration>(std::chrono::duration<double>(flags.seconds));
  Time now = start;
  while (status.ok() && now - start < length) {
    const Time before = now;
    status = run();
    now = clock.Now();
    run_us.push_back(Seconds(now - before) * 1e6);
  }
  if (!status.ok()) {
    std::fprintf(stderr, "%s\n", status.ToString().c_str());
    return 1;
  }
  const double items = static_cast<double>(run_us.size()) * static_cast<double>(flags.batch);
  std::ranges::sort(run_us);
  const nlohmann::json result = {{"model", flags.model},
                                 {"batch", flags.batch},
                                 {"threads", flags.threads},
                                 {"precision", engine->Describe()["precision"]},
                                 {"items_per_second", items / Seconds(now - start)},
                                 {"runs", run_us.size()},
                                 {"run_us_min", run_us.front()},
                                 {"run_us_p50", run_us[run_us.size() / 2]},
                                 {"run_us_p99", run_us[run_us.size() * 99 / 100]},
                                 {"load_seconds", load_s}};
  std::printf("%s\n", result.dump().c_str());
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  Flags flags;
  if (!ParseFlags(argc, argv, &flags)) {
    std::fprintf(
        stderr,
        "usage: engine_floor_openvino --model FILE [--batch N] [--seconds S] [--threads N] "
        "[--precision f32|bf16] [--dim N]\n");
    return 2;
  }
  return Measure(flags);
}
