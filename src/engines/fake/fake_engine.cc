#include "engines/fake/fake_engine.h"

#include <algorithm>
#include <cstring>
#include <nlohmann/json.hpp>
#include <optional>
#include <stdexcept>
#include <thread>
#include <vector>

#include "core/clock.h"
#include "core/format.h"
#include "engines/fake/elements.h"
#include "engines/fake/fake_model.h"

namespace evenkeel {
namespace {

int64_t RowsOf(const TensorView& view) { return view.shape.rank() == 0 ? 1 : view.shape[0]; }

bool ContainsText(const TensorView& view, std::string_view text) {
  const int64_t count = view.shape.ElementCount().value_or(0);
  size_t at = 0;
  for (int64_t i = 0; i < count; ++i) {
    uint32_t length = 0;
    std::memcpy(&length, view.data.data() + at, sizeof length);
    at += sizeof length;
    const auto* begin = reinterpret_cast<const char*>(view.data.data() + at);
    if (std::string_view(begin, length) == text) return true;
    at += length;
  }
  return false;
}

bool Contains(std::span<const TensorView> inputs, const std::optional<int64_t>& marker) {
  if (!marker) return false;
  for (const TensorView& view : inputs) {
    if (view.dtype == DataType::kBytes) {
      if (ContainsText(view, std::to_string(*marker))) return true;
      continue;
    }
    const size_t step = ElementSize(view.dtype);
    for (size_t at = 0; at < view.data.size(); at += step) {
      if (LoadElement(view.dtype, view.data.data() + at) == static_cast<double>(*marker)) {
        return true;
      }
    }
  }
  return false;
}

class FakeEngine final : public Engine {
 public:
  Result<Signature> Load(const EngineOptions& options) override;
  Status Run(std::span<const TensorView> inputs, OutputSink& outputs) override;
  nlohmann::json Describe() const override {
    return {{"name", "fake"}, {"version", EVENKEEL_VERSION}, {"device", "CPU"}};
  }

 private:
  Status Misbehave(std::span<const TensorView> inputs);
  void RunAway();
  void Delay(int64_t rows) const;
  Status Echo(int index, const TensorView& input, OutputSink& sink) const;
  // One number a row: `value(row)`.
  template <typename Value>
  Status PerRow(int index, int64_t rows, OutputSink& sink, Value value) const;

  FakeModel model_;
  int64_t runs_ = 0;
  std::vector<std::byte> grown_;
  std::vector<std::jthread> runaways_;
};

Result<Signature> FakeEngine::Load(const EngineOptions& options) {
  auto model = ReadFakeModel(options.path);
  if (!model.ok()) return model.status();
  model_ = std::move(model).value();
  if (options.emulated && model_.delay_on_cpu_only)
    model_.delay_fixed = model_.delay_per_row = Duration::zero();
  if (model_.slow_load > Duration::zero()) std::this_thread::sleep_for(model_.slow_load);
  if (!model_.fail_load.empty()) return InvalidArgument("{}", model_.fail_load);
  return model_.signature;
}

void FakeEngine::RunAway() {
  constexpr size_t kThreads = 2;
  while (runaways_.size() < kThreads) {
    runaways_.emplace_back([](const std::stop_token& stop) {
      while (!stop.stop_requested()) {
      }
    });
  }
}

Status FakeEngine::Misbehave(std::span<const TensorView> inputs) {
  if (Contains(inputs, model_.abort_on)) std::abort();
  if (Contains(inputs, model_.throw_on)) {
    throw std::runtime_error("the marker " + std::to_string(*model_.throw_on) + " is in the batch");
  }
  if (Contains(inputs, model_.error_on)) {
    return InvalidArgument("the marker {} is in the batch", *model_.error_on);
  }
  // Written to, so that the memory is really taken.
  if (Contains(inputs, model_.grow_on))
    grown_.assign(static_cast<size_t>(model_.grow_mib) << 20, std::byte{1});
  if (Contains(inputs, model_.runaway_on)) RunAway();
  if (Contains(inputs, model_.hang_on)) {
    for (;;) std::this_thread::sleep_for(std::chrono::hours(1));
  }
  return Status::Ok();
}

void FakeEngine::Delay(int64_t rows) const {
  const Duration delay = model_.delay_fixed + rows * model_.delay_per_row;
  if (delay <= Duration::zero()) return;
  if (!model_.delay_busy) {
    std::this_thread::sleep_for(delay);
    return;
  }
  const SteadyClock& clock = SteadyClock::Instance();
  const Time end = clock.Now() + delay;
  while (clock.Now() < end) {
  }
}

Status FakeEngine::Echo(int index, const TensorView& input, OutputSink& sink) const {
  std::byte* to = sink.Allocate(index, input.dtype, input.shape, input.data.size());
  if (to == nullptr) return TooLarge("no room for output {}", index);
  if (!input.data.empty()) std::memcpy(to, input.data.data(), input.data.size());
  return Status::Ok();
}

template <typename Value>
Status FakeEngine::PerRow(int index, int64_t rows, OutputSink& sink, Value value) const {
  const TensorSpec& spec = model_.signature.outputs[static_cast<size_t>(index)];
  Shape shape = spec.shape;
  shape[0] = rows;
  const size_t element = ElementSize(spec.dtype);
  std::byte* to = sink.Allocate(index, spec.dtype, shape, static_cast<size_t>(rows) * element);
  if (to == nullptr) return TooLarge("no room for output {}", index);
  for (int64_t row = 0; row < rows; ++row) {
    StoreElement(spec.dtype, value(row), to + static_cast<size_t>(row) * element);
  }
  return Status::Ok();
}

Status FakeEngine::Run(std::span<const TensorView> inputs, OutputSink& sink) {
  EK_RETURN_IF_ERROR(Misbehave(inputs));
  const int64_t rows = inputs.empty() ? 1 : RowsOf(inputs[0]);
  Delay(rows);
  for (size_t i = 0; i < model_.outputs.size(); ++i) {
    const int index = static_cast<int>(i);
    const TensorView& input = inputs[model_.outputs[i].input];
    Status status;
    switch (model_.outputs[i].function) {
      case FakeFunction::kEcho: status = Echo(index, input, sink); break;
      case FakeFunction::kBatchRows:
        status = PerRow(index, rows, sink, [rows](int64_t) { return static_cast<double>(rows); });
        break;
      case FakeFunction::kCount:
        status = PerRow(index, rows, sink, [this](int64_t) { return static_cast<double>(runs_); });
        break;
      case FakeFunction::kRowSum: {
        const size_t element = ElementSize(input.dtype);
        const size_t row_bytes = rows == 0 ? 0 : input.data.size() / static_cast<size_t>(rows);
        status = PerRow(index, rows, sink, [&](int64_t row) {
          const auto data = input.data.subspan(static_cast<size_t>(row) * row_bytes, row_bytes);
          double sum = 0;
          for (size_t at = 0; at < data.size(); at += element) {
            sum += LoadElement(input.dtype, data.data() + at);
          }
          return sum;
        });
        break;
      }
    }
    EK_RETURN_IF_ERROR(status);
  }
  ++runs_;
  return Status::Ok();
}

}  // namespace

std::unique_ptr<Engine> MakeFakeEngine() { return std::make_unique<FakeEngine>(); }

}  // namespace evenkeel
