// Runs batches on the form of the model that is fastest for their size: the common one, or one compiled for that size alone.
//
// Which sizes get a form of their own is measured, see variant_policy.h; building goes on beside serving, and a run never waits for it.
// Use for: models all of whose inputs have only the first dimension free. Others are run by the common form alone.
// Contract: as ModelRunner. Thread-safety: single-owner, always from the same thread.
#pragma once

#include <map>
#include <memory>
#include <span>

#include "core/clock.h"
#include "engines/openvino/model_runner.h"
#include "engines/openvino/variant_builder.h"
#include "engines/openvino/variant_policy.h"

namespace evenkeel {

class SizeRunner {
 public:
  // `builder` may be null: only the common form.
  SizeRunner(ov::CompiledModel common, const Signature& signature,
             std::unique_ptr<VariantBuilder> builder);

  Status Run(std::span<const TensorView> inputs, OutputSink& sink);
  // Sizes that have a form of their own now.
  size_t own_forms() const { return own_.size(); }

  // Whether forms of single sizes are possible: every input has a free first dimension and no other free one.
  static bool Eligible(const Signature& signature);

 private:
  void CollectBuilt();
  void BuildNext();

  const Signature signature_;
  ModelRunner common_;
  std::map<int64_t, std::unique_ptr<ModelRunner>> own_;
  VariantPolicy policy_;
  int64_t last_common_ = 0;
  std::unique_ptr<VariantBuilder> builder_;  // last: its thread ends first
};

}  // namespace evenkeel
