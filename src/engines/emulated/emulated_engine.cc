#include "engines/emulated/emulated_engine.h"

#include <sys/prctl.h>

#include <nlohmann/json.hpp>
#include <optional>
#include <thread>
#include <utility>

#include "core/clock.h"
#include "core/format.h"
#include "core/parse.h"

namespace evenkeel {
namespace {

class EmulatedEngine final : public Engine {
 public:
  explicit EmulatedEngine(std::unique_ptr<Engine> inner) : inner_(std::move(inner)) {}

  Result<Signature> Load(const EngineOptions& options) override;
  Status Run(std::span<const TensorView> inputs, OutputSink& outputs) override;
  nlohmann::json Describe() const override;

 private:
  Status CheckMemory(int64_t rows) const;

  const std::unique_ptr<Engine> inner_;
  std::optional<EmulatedShare> share_;  // empty: the inner engine as it is
};

Status EmulatedEngine::CheckMemory(int64_t rows) const {
  const int64_t needs = share_->Needs(rows);
  if (needs <= share_->memory_bytes) return Status::Ok();
  return TooLarge("out of memory of the emulated device: {} rows take {}, the shape has {}", rows,
                  FormatBytes(needs), FormatBytes(share_->memory_bytes));
}

Result<Signature> EmulatedEngine::Load(const EngineOptions& options) {
  share_ = options.emulated;
  if (!share_) return inner_->Load(options);
  EK_RETURN_IF_ERROR(CheckMemory(1));
  // The default slack of 50 us would lie on every batch.
  ::prctl(PR_SET_TIMERSLACK, 1000UL);
  return inner_->Load(options);
}

Status EmulatedEngine::Run(std::span<const TensorView> inputs, OutputSink& outputs) {
  if (!share_) return inner_->Run(inputs, outputs);
  const Time begin = SteadyClock::Instance().Now();
  const bool has_rows = !inputs.empty() && inputs.front().shape.rank() > 0;
  const int64_t rows = has_rows ? inputs.front().shape[0] : 1;
  EK_RETURN_IF_ERROR(CheckMemory(rows));
  EK_RETURN_IF_ERROR(inner_->Run(inputs, outputs));
  const Duration left = begin + share_->Takes(rows) - SteadyClock::Instance().Now();
  if (left > Duration::zero()) std::this_thread::sleep_for(left);
  return Status::Ok();
}

nlohmann::json EmulatedEngine::Describe() const {
  nlohmann::json facts = inner_->Describe();
  if (!share_) return facts;
  facts["device"] = "EMULATED";
  facts["emulated"] = {{"cores", share_->cores},           {"memory_bytes", share_->memory_bytes},
                       {"a_us", Seconds(share_->a) * 1e6}, {"c_us", Seconds(share_->c) * 1e6},
                       {"m0_bytes", share_->m0_bytes},     {"m1_bytes", share_->m1_bytes}};
  return facts;
}

}  // namespace

std::unique_ptr<Engine> MakeEmulatable(std::unique_ptr<Engine> inner) {
  return std::make_unique<EmulatedEngine>(std::move(inner));
}

}  // namespace evenkeel
