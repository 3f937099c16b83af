#include "engines/openvino/size_runner.h"

#include <algorithm>
#include <cstdio>
#include <utility>

#include "engines/openvino/error_text.h"

namespace evenkeel {
namespace {

// The first dimension that all inputs have; 0: they differ.
int64_t RowsOf(std::span<const TensorView> inputs) {
  const int64_t rows = inputs.front().shape[0];
  const bool same =
      std::ranges::all_of(inputs, [rows](const TensorView& view) { return view.shape[0] == rows; });
  return same ? rows : 0;
}

}  // namespace

bool SizeRunner::Eligible(const Signature& signature) {
  return !signature.inputs.empty() &&
         std::ranges::all_of(signature.inputs, [](const TensorSpec& spec) {
           if (spec.shape.rank() == 0 || spec.shape[0] != kDynamic) return false;
           for (int d = 1; d < spec.shape.rank(); ++d) {
             if (spec.shape[d] == kDynamic) return false;
           }
           return true;
         });
}

SizeRunner::SizeRunner(ov::CompiledModel common, const Signature& signature,
                       std::unique_ptr<VariantBuilder> builder)
    : signature_(signature),
      common_(std::move(common), signature),
      builder_(Eligible(signature) ? std::move(builder) : nullptr) {}

void SizeRunner::CollectBuilt() {
  auto built = builder_->Take();
  if (!built) return;
  if (built->model.ok()) {
    own_[built->rows] = std::make_unique<ModelRunner>(*built->model, signature_);
    policy_.Built(built->rows);
    std::fprintf(stderr, "batches of %lld rows have a compiled form of their own now\n",
                 static_cast<long long>(built->rows));
  } else {
    policy_.Refuse(built->rows);
    std::fprintf(stderr, "no compiled form of its own for batches of %lld rows: %s\n",
                 static_cast<long long>(built->rows),
                 CleanEngineError(built->model.status().message(), "").c_str());
  }
}

void SizeRunner::BuildNext() {
  if (const auto unused = policy_.Unused()) {
    own_.erase(*unused);
    builder_->Dropped(*unused);
  }
  if (const auto next = policy_.Next()) builder_->Start(*next);
}

Status SizeRunner::Run(std::span<const TensorView> inputs, OutputSink& sink) {
  const int64_t rows = builder_ ? RowsOf(inputs) : 0;
  if (rows <= 0) return common_.Run(inputs, sink);
  CollectBuilt();
  const Clock& clock = SteadyClock::Instance();
  const Time start = clock.Now();
  if (const auto own = own_.find(rows); own != own_.end()) {
    const Status status = own->second->Run(inputs, sink);
    if (status.ok() && !policy_.OnOwnRun(rows, clock.Now() - start)) own_.erase(own);
    return status;
  }
  const Status status = common_.Run(inputs, sink);
  if (status.ok()) {
    policy_.OnCommonRun(rows, std::exchange(last_common_, rows) != rows, clock.Now() - start);
    if (builder_->idle()) BuildNext();
  }
  return status;
}

}  // namespace evenkeel
