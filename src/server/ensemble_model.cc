#include "server/ensemble_model.h"

#include <algorithm>
#include <utility>

#include "batching/row_check.h"
#include "core/format.h"
#include "server/ensemble_call.h"

namespace evenkeel {
namespace {

std::vector<TensorSpec> SpecsOf(const std::vector<TensorOverride>& tensors) {
  std::vector<TensorSpec> specs;
  for (const TensorOverride& tensor : tensors) {
    TensorSpec spec;
    spec.name = tensor.name;
    spec.dtype = tensor.dtype;
    spec.shape = tensor.shape.value_or(Shape());
    spec.range = tensor.range;
    spec.labels = tensor.labels;
    specs.push_back(std::move(spec));
  }
  return specs;
}

Signature SignatureOf(const ModelConfig& config) {
  Signature signature;
  signature.inputs = SpecsOf(config.inputs);
  signature.outputs = SpecsOf(config.outputs);
  signature.batched = config.batch_axis_declared;
  signature.max_batch = config.batch_axis_declared ? std::max(1, config.batching.max_batch) : 1;
  return signature;
}

Status NoStep(const std::string& model) {
  return Unsupported("'{}' is an ensemble itself: a step has to be a model", model);
}

std::string VersionText(int64_t version) { return version < 0 ? "" : std::to_string(version); }

}  // namespace

EnsembleModel::EnsembleModel(ModelConfig config, const Clock& clock, Find find)
    : config_(std::move(config)),
      version_(std::to_string(config_.version)),
      signature_(SignatureOf(config_)),
      clock_(clock),
      find_(std::move(find)) {
  for (const TensorSpec& input : signature_.inputs) tensors_.push_back(input.name);
  for (const EnsembleStep& step : config_.ensemble) {
    for (const EnsembleStep::Named& output : step.outputs) tensors_.push_back(output.tensor);
  }
}

void EnsembleModel::Infer(InferCall* call) {
  auto running = std::make_shared<EnsembleCall>(shared_from_this(), call);
  open_.Add(call, running);
  running->Start();
}

void EnsembleModel::Cancel(InferCall* call) {
  if (const auto running = open_.Find(call)) running->Cancel();
}

void EnsembleModel::Ended(const void* call, const Status& status, Duration took) {
  open_.Remove(call);
  (status.ok() ? well_ : failed_).fetch_add(1, std::memory_order_relaxed);
  (status.ok() ? well_ns_ : failed_ns_)
      .fetch_add(static_cast<uint64_t>(took.count()), std::memory_order_relaxed);
}

ModelStatistics EnsembleModel::Statistics() const {
  ModelStatistics statistics;
  statistics.name = config_.name;
  statistics.version = version_;
  statistics.success = {well_.load(), well_ns_.load()};
  statistics.fail = {failed_.load(), failed_ns_.load()};
  statistics.inference_count = statistics.execution_count = well_.load();
  return statistics;
}

Status EnsembleModel::Ready() const {
  for (const EnsembleStep& step : config_.ensemble) {
    const auto found = find_(step.model, VersionText(step.version));
    if (!found.ok())
      return Unavailable("ensemble '{}' waits for '{}': {}", config_.name, step.model,
                         found.status().message());
    if ((*found)->calls_others()) return NoStep(step.model);
    if (!(*found)->reachable())
      return Unavailable("ensemble '{}' waits for '{}': no node that serves it can be reached",
                         config_.name, step.model);
  }
  return Status::Ok();
}

EnsembleCall::EnsembleCall(std::shared_ptr<EnsembleModel> model, InferCall* call)
    : model_(std::move(model)), call_(call), slots_(model_->tensors_.size()) {
  for (size_t i = 0; i < model_->config_.ensemble.size(); ++i)
    steps_.push_back(std::make_unique<Step>(*this, i));
}

size_t EnsembleCall::IndexOf(std::string_view tensor) const {
  return static_cast<size_t>(std::ranges::find(model_->tensors_, tensor) -
                             model_->tensors_.begin());
}

void EnsembleCall::Start() {
  self_ = shared_from_this();
  const std::shared_ptr<EnsembleCall> self = self_;
  // Here, for an input may be an output, too, which no step looks at.
  const auto rows = CheckCall(model_->name(), model_->signature_, *call_);
  if (!rows.ok()) {
    {
      const std::lock_guard lock(mutex_);
      answered_ = true;
      if (failure_.ok()) failure_ = rows.status();
    }
    return Answer();
  }
  for (const TensorView& view : call_->inputs)
    slots_[view.spec] = {true, view.dtype, view.shape, view.data, {}};
  RunReady();
}

// Runs what can run. Steps may end, and others begin, meanwhile: on this thread or others.
void EnsembleCall::RunReady() {
  for (;;) {
    Step* next = nullptr;
    bool answer = false;
    {
      const std::lock_guard lock(mutex_);
      if (answered_ || (!failure_.ok() && running_ > 0)) return;
      // Cancelled while no step ran.
      answer = answered_ = !failure_.ok();
      for (const auto& step : steps_) {
        if (answer) break;
        const bool ready =
            std::ranges::all_of(Of(step->number).inputs, [this](const EnsembleStep::Named& input) {
              return slots_[IndexOf(input.tensor)].there;
            });
        if (step->begun || !ready) continue;
        step->begun = true;
        ++running_;
        next = step.get();
        break;
      }
    }
    if (answer) return Answer();
    if (next == nullptr) return;
    if (const Status status = Run(*next); !status.ok()) OnStep(next->number, status, {}, {});
  }
}

Status EnsembleCall::Run(Step& step) {
  const EnsembleStep& what = Of(step.number);
  auto found = model_->find_(what.model, VersionText(what.version));
  if (!found.ok()) return found.status();
  if ((*found)->calls_others()) return NoStep(what.model);
  const Signature& signature = (*found)->signature();
  for (const EnsembleStep::Named& input : what.inputs) {
    const int spec = signature.FindInput(input.own);
    if (spec < 0) return InvalidArgument("model '{}' has no input '{}'", what.model, input.own);
    const std::lock_guard lock(mutex_);
    const Slot& slot = slots_[IndexOf(input.tensor)];
    step.inputs.push_back({static_cast<uint32_t>(spec), slot.dtype, slot.shape, slot.data});
  }
  for (const EnsembleStep::Named& output : what.outputs) {
    if (signature.FindOutput(output.own) < 0)
      return InvalidArgument("model '{}' has no output '{}'", what.model, output.own);
  }
  step.arrived = model_->clock_.Now();
  step.deadline = call_->deadline;
  step.priority = call_->priority;
  const std::shared_ptr<ServedModel> model = std::move(*found);
  {
    const std::lock_guard lock(mutex_);
    if (!failure_.ok()) return Cancelled("another step failed");
    step.model = model;
  }
  model->Infer(&step);
  // A Cancel() that came before the model had the step has met nothing there; a second one does no harm.
  bool cancelled = false;
  {
    const std::lock_guard lock(mutex_);
    cancelled = !failure_.ok() && step.model == model;
  }
  if (cancelled) model->Cancel(&step);
  return Status::Ok();
}

Status EnsembleCall::Keep(const Step& step, std::span<const TensorView> outputs) {
  const Signature& signature = step.model->signature();
  for (const EnsembleStep::Named& output : Of(step.number).outputs) {
    const TensorView& view = outputs[static_cast<size_t>(signature.FindOutput(output.own))];
    if (view.dtype == DataType::kInvalid)
      return InvalidArgument("model '{}' makes no '{}' of such inputs", step.model->name(),
                             output.own);
    Slot slot{true, view.dtype, view.shape, {}, {view.data.begin(), view.data.end()}};
    const int answer = model_->signature_.FindOutput(output.tensor);
    if (answer >= 0 && model_->signature_.outputs[static_cast<size_t>(answer)].dtype != view.dtype)
      return Internal("output '{}' is of type {}, the ensemble says {}", output.own,
                      NameOf(view.dtype),
                      NameOf(model_->signature_.outputs[static_cast<size_t>(answer)].dtype));
    const std::lock_guard lock(mutex_);
    Slot& place = slots_[IndexOf(output.tensor)];
    place = std::move(slot);
    place.data = place.own;
  }
  return Status::Ok();
}

void EnsembleCall::OnStep(size_t number, const Status& status, std::span<const TensorView> outputs,
                          const Timings& timings) {
  const std::shared_ptr<EnsembleCall> self = shared_from_this();
  Step& step = *steps_[number];
  const Status kept = status.ok() ? Keep(step, outputs) : status;
  if (!kept.ok()) Fail(number, kept);
  bool over = false;
  std::shared_ptr<ServedModel> model;  // let go of without the mutex
  {
    const std::lock_guard lock(mutex_);
    model = std::move(step.model);
    --running_;
    ++ended_;
    timings_.compute += timings.compute;
    timings_.batch += timings.batch;
    timings_.batch_rows = timings.batch_rows;
    over = !answered_ && running_ == 0 && (!failure_.ok() || ended_ == steps_.size());
    answered_ = answered_ || over;
  }
  if (over) {
    Answer();
  } else {
    RunReady();
  }
}

void EnsembleCall::Fail(size_t number, const Status& status) {
  std::vector<std::pair<std::shared_ptr<ServedModel>, Step*>> others;
  {
    const std::lock_guard lock(mutex_);
    if (!failure_.ok()) return;
    failure_ =
        status.Annotate(fmt::format("ensemble '{}', step '{}'", model_->name(), Of(number).model));
    for (const auto& step : steps_) {
      if (step->number != number && step->model) others.emplace_back(step->model, step.get());
    }
  }
  for (const auto& [model, step] : others) model->Cancel(step);
}

void EnsembleCall::Cancel() {
  std::vector<std::pair<std::shared_ptr<ServedModel>, Step*>> running;
  {
    const std::lock_guard lock(mutex_);
    if (answered_ || !failure_.ok()) return;
    failure_ = Cancelled("the client went away");
    for (const auto& step : steps_) {
      if (step->model) running.emplace_back(step->model, step.get());
    }
  }
  for (const auto& [model, step] : running) model->Cancel(step);
}

void EnsembleCall::Answer() {
  const std::shared_ptr<EnsembleCall> self = std::move(self_);
  const Duration took = model_->clock_.Now() - call_->arrived;
  timings_.queue = std::max(Duration::zero(), took - timings_.compute - timings_.batch);
  std::vector<TensorView> outputs;
  if (failure_.ok()) {
    for (size_t i = 0; i < model_->signature_.outputs.size(); ++i) {
      const Slot& slot = slots_[IndexOf(model_->signature_.outputs[i].name)];
      outputs.push_back({static_cast<uint32_t>(i), slot.dtype, slot.shape, slot.data});
    }
  }
  model_->Ended(call_, failure_, took);
  call_->Done(failure_, outputs, timings_);
}

}  // namespace evenkeel
