// A front end's hold on a served version from finding it to handing it a call: a version that was replaced in between still takes
// the call, and drains only when nobody is in between any more.
//
// Contract: a Tenure ends, calling `on_end` once on the thread of whoever lets go last, when its owner and all Leases of it have let
//   go. A Lease lets go when its Infer() returns, or with its destruction; it is good for one call. So every call that was
//   handed over under a tenure was handed over before the tenure's end.
// Ownership: a Lease shares the version. A call may be answered, and its Lease destroyed, before Infer() returns.
// Thread-safety: Tenure and Lease::Cancel are thread-safe; a Lease's Infer() is called once, by its holder.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <utility>

#include "frontends/service.h"

namespace evenkeel {

class Tenure {
 public:
  explicit Tenure(std::function<void()> on_end) : on_end_(std::move(on_end)) {}
  ~Tenure() { on_end_(); }
  Tenure(const Tenure&) = delete;
  Tenure& operator=(const Tenure&) = delete;

 private:
  const std::function<void()> on_end_;
};

class Lease final : public ServedModel {
 public:
  Lease(std::shared_ptr<ServedModel> model, std::shared_ptr<const Tenure> tenure)
      : model_(std::move(model)), tenure_(std::move(tenure)) {}

  const std::string& name() const override { return model_->name(); }
  const std::string& version() const override { return model_->version(); }
  const Signature& signature() const override { return model_->signature(); }
  void Infer(InferCall* call) override {
    // Held here: `this` may be gone when the call returns.
    const std::shared_ptr<const Tenure> tenure = std::move(tenure_);
    const std::shared_ptr<ServedModel> model = model_;
    model->Infer(call);
  }
  void Cancel(InferCall* call) override { model_->Cancel(call); }

 private:
  const std::shared_ptr<ServedModel> model_;
  std::shared_ptr<const Tenure> tenure_;
};

}  // namespace evenkeel
