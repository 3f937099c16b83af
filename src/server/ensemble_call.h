// One call of an ensemble while its steps run. Internal to ensemble_model.cc.
//
// Thread-safety: thread-safe: steps end on any thread.
#pragma once

#include <cstddef>
#include <memory>
#include <mutex>
#include <optional>
#include <span>
#include <string_view>
#include <vector>

#include "server/ensemble_model.h"

namespace evenkeel {

class EnsembleCall final : public std::enable_shared_from_this<EnsembleCall> {
 public:
  EnsembleCall(std::shared_ptr<EnsembleModel> model, InferCall* call);
  void Start();
  void Cancel();

 private:
  struct Step final : InferCall {
    Step(EnsembleCall& of, size_t at) : owner(of), number(at) {}
    void Done(const Status& status, std::span<const TensorView> outputs,
              const Timings& timings) override {
      owner.OnStep(number, status, outputs, timings);
    }
    EnsembleCall& owner;
    const size_t number;
    std::shared_ptr<ServedModel> model;  // while it runs
    bool begun = false;
  };
  struct Slot {
    bool there = false;
    DataType dtype = DataType::kInvalid;
    Shape shape;
    std::span<const std::byte> data;
    std::vector<std::byte> own;  // what `data` is of, but for the call's inputs
  };

  const EnsembleStep& Of(size_t step) const { return model_->config_.ensemble[step]; }
  size_t IndexOf(std::string_view tensor) const;
  void RunReady();
  // Empty: it runs, or has ended.
  Status Run(Step& step);
  void OnStep(size_t number, const Status& status, std::span<const TensorView> outputs,
              const Timings& timings);
  Status Keep(const Step& step, std::span<const TensorView> outputs);
  void Fail(size_t number, const Status& status);
  void Answer();

  const std::shared_ptr<EnsembleModel> model_;
  InferCall* const call_;
  std::vector<std::unique_ptr<Step>> steps_;
  std::shared_ptr<EnsembleCall> self_;  // until it is answered

  std::mutex mutex_;  // guards what follows; not held while steps are run or ended
  std::vector<Slot> slots_;
  size_t running_ = 0, ended_ = 0;
  Status failure_;
  bool answered_ = false;
  Timings timings_;
};

}  // namespace evenkeel
