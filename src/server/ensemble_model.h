// A model that is a graph of calls to others: steps run as soon as what they need is there, side by side where they can, on whichever nodes serve them.
//
// Contract: as ServedModel. A step's model is looked up when the step begins, so that ensembles and their steps come and go by themselves; one that is not
//   there, an ensemble itself, or one without the named tensors fails the call, with the step's name. The first step that fails ends the call once those
//   that run have ended, too; they are cancelled.
// Ownership: tensors between steps are copied out of the step that made them, and live until the call is answered.
// Thread-safety: as ServedModel. Source: B4; Triton's ensemble_scheduling.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "core/model_config.h"
#include "core/served_model.h"
#include "frontends/service.h"
#include "server/open_calls.h"

namespace evenkeel {

class EnsembleCall;

class EnsembleModel final : public ServedModel, public std::enable_shared_from_this<EnsembleModel> {
 public:
  using Find = std::function<Result<std::shared_ptr<ServedModel>>(std::string_view name,
                                                                  std::string_view version)>;
  // REQUIRES: config.ensemble is ordered (repository/ensemble.h).
  EnsembleModel(ModelConfig config, const Clock& clock, Find find);

  const std::string& name() const override { return config_.name; }
  const std::string& version() const override { return version_; }
  const Signature& signature() const override { return signature_; }
  bool calls_others() const override { return true; }
  void Infer(InferCall* call) override;
  void Cancel(InferCall* call) override;

  const ModelConfig& config() const { return config_; }
  size_t open() const { return open_.size(); }  // calls that are not answered
  ModelStatistics Statistics() const;
  // Every step's model could be called now; else the first that could not, and why.
  Status Ready() const;

 private:
  friend class EnsembleCall;
  void Ended(const void* call, const Status& status, Duration took);

  const ModelConfig config_;
  const std::string version_;
  const Signature signature_;
  const Clock& clock_;
  const Find find_;
  std::vector<std::string> tensors_;  // all of the ensemble's, inputs first, then outputs of steps
  OpenCalls<EnsembleCall> open_;
  std::atomic<uint64_t> well_{0}, well_ns_{0}, failed_{0}, failed_ns_{0};
};

}  // namespace evenkeel
