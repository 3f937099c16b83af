// Of a model that may run on both classes: which instances there are.
#include <algorithm>
#include <utility>

#include "core/format.h"
#include "core/log.h"
#include "server/model_version.h"

namespace evenkeel {

InstanceSet& ModelVersion::SetOf(int id) { return id >= kDeviceIds ? *on_device_ : instances_; }

// The set that the keeper plans, and that says how the model is served: the processor's, unless the device alone is held.
const InstanceSet& ModelVersion::Leading() const {
  const bool device = on_device_ != nullptr && !holds_cpu_ && !device_fails_;
  return device && on_device_->form() != nullptr ? *on_device_ : instances_;
}

// What serves goes only once the other class does.
int ModelVersion::WantedOnHost() const {
  if (on_device_ == nullptr || holds_cpu_ || device_fails_) return planned_;
  const bool stays = planned_ > 0 && on_device_->up() == 0 && instances_.count() > 0;
  return stays ? std::max(1, instances_.wanted()) : 0;
}

int ModelVersion::WantedOnDevice() const {
  if (planned_ == 0) return 0;
  if (holds_gpu_ || host_fails_) return config_.gpu_instances;
  const bool stays = instances_.up() == 0 && on_device_->count() > 0;
  return stays ? std::max(1, on_device_->wanted()) : 0;
}

void ModelVersion::Spread() {
  instances_.SetWanted(WantedOnHost());
  if (on_device_ == nullptr) return;
  // The first one there starts once an instance on the processor has shown that the model can be served.
  if (on_device_->form() != nullptr) {
    on_device_->SetWanted(WantedOnDevice());
  } else if (serves_since_ != Time{} && WantedOnDevice() > 0) {
    on_device_->Start(first_on_device_ != nullptr ? first_on_device_ : DeviceForm());
  }
}

void ModelVersion::Hold(bool cpu, bool gpu) {
  if (on_device_ == nullptr || stopping_) return;
  holds_cpu_ = cpu || !gpu;
  holds_gpu_ = gpu;
  host_fails_ = device_fails_ = false;
  held_by_one_ = 0;
  Spread();
  OnChange();
}

// The class that is held alone may be one whose instances can't be had: the other stands in. True: it is to come in a moment.
bool ModelVersion::NoteTrouble(const InstanceTrouble& trouble) {
  using Kind = InstanceTrouble::Kind;
  if (on_device_ == nullptr) return false;
  const bool device = trouble.id >= kDeviceIds;
  if (device && trouble.kind == Kind::kNotStarted) {
    LogWarning("model '{}': no instance on an accelerator: {}", config_.name,
               trouble.why.message());
  }
  if (trouble.kind == Kind::kEnded && trouble.pause < RestartPolicy::kTooLong) return false;
  bool& fails = device ? device_fails_ : host_fails_;
  const bool alone = device ? !holds_cpu_ : !holds_gpu_;
  if (!alone || std::exchange(fails, true) || stopping_) return false;
  LogWarning("model '{}': is held on {} alone, which can't be had: {} stands in", config_.name,
             device ? "the accelerator" : "the processor",
             device ? "the processor" : "the accelerator");
  // The set that tells this is in the midst of its own turn.
  context_.loop.Post([weak = weak_from_this()] {
    const auto self = weak.lock();
    if (self == nullptr || self->stopping_) return;
    self->Spread();
    self->OnChange();
  });
  return true;
}

}  // namespace evenkeel
