#include "server/model_version.h"

#include <algorithm>
#include <filesystem>
#include <utility>

#include "core/check.h"
#include "core/format.h"
#include "core/log.h"
#include "repository/signature.h"

namespace evenkeel {
namespace {

constexpr size_t kArenaBytes = size_t{256} << 20;  // address space, not memory
constexpr size_t kArenaSlack = size_t{1} << 20;    // alignment of a largest request's tensors

ipc::Layout LayoutFor(const ServingContext& context) {
  ipc::Layout layout;
  layout.input_capacity = std::max(kArenaBytes, context.max_body_bytes + kArenaSlack);
  layout.output_capacity = kArenaBytes;
  return layout;
}

}  // namespace

struct ModelVersion::Slot {
  int id = 0;
  std::unique_ptr<Worker> worker;
  std::unique_ptr<Alarm> restart;
  RestartPolicy policy;
  bool attached = false;
  uint64_t answers_before = 0;  // of the model, when this worker came up
  Time ready_since{};
  Status load_failure;
};

ModelVersion::ModelVersion(ServingContext& context, ModelConfig config)
    : context_(context),
      config_(std::move(config)),
      version_(std::to_string(config_.version)),
      threads_(config_.threads > 0 ? config_.threads : context.default_threads) {}

ModelVersion::~ModelVersion() = default;

void ModelVersion::Start(std::function<void(Status)> on_ready) {
  self_ = shared_from_this();
  on_ready_ = std::move(on_ready);
  if (config_.device == DeviceClass::kGpu) {
    return Ready(
        Unsupported("model '{}': class gpu: no GPU is served on this machine yet", config_.name));
  }
  infos_.resize(static_cast<size_t>(std::max(1, config_.instances)));
  for (size_t i = 0; i < infos_.size(); ++i) {
    auto slot = std::make_unique<Slot>();
    slot->id = infos_[i].id = static_cast<int>(i);
    infos_[i].state = "starting";
    slot->restart = context_.loop.MakeAlarm([this, s = slot.get()] { StartWorker(*s); });
    slots_.push_back(std::move(slot));
  }
  // The others start once the first has shown that the model loads.
  StartWorker(*slots_.front());
}

WorkerOptions ModelVersion::OptionsFor(const Slot& slot) const {
  WorkerOptions options;
  options.spec.executable = context_.libexec + "/evenkeel-worker-" + config_.engine;
  options.spec.cpus = context_.worker_cpus;
  options.spec.log_name = fmt::format("{}/{}#{}", config_.name, version_, slot.id);
  options.spec.readable = {std::filesystem::path(config_.path).parent_path().string()};
  if (!context_.cache.empty()) options.spec.writable = {context_.cache};
  options.engine.path = config_.path;
  options.engine.device = "CPU";
  options.engine.threads = threads_;
  options.engine.bf16 = config_.precision == Precision::kBf16;
  options.engine.cache_dir = context_.cache;
  options.layout = LayoutFor(context_);
  options.may_spin = context_.cores > 1;
  return options;
}

void ModelVersion::SetState(Slot& slot, std::string state) {
  const std::lock_guard lock(info_mutex_);
  InstanceInfo& info = infos_[static_cast<size_t>(slot.id)];
  info.state = std::move(state);
  info.pid = slot.worker ? slot.worker->pid() : 0;
}

void ModelVersion::StartWorker(Slot& slot) {
  if (ended_ || slot.worker != nullptr) return;
  WorkerEvents events;
  events.loaded = [this, &slot](LoadedModel loaded) { OnLoaded(slot, std::move(loaded)); };
  // After EndWorkers() a worker may still tell of events for a turn: the slot has let go of it then.
  events.failed = [&slot](const Status& status) {
    slot.load_failure = status;
    if (slot.worker) slot.worker->Kill(status.message());
  };
  events.readable = [this, &slot] {
    if (slot.attached) dispatcher_->OnChannelReadable(slot.id);
  };
  events.ended = [this, &slot](const std::string& how) {
    if (slot.worker) OnEnded(slot, how);
  };
  auto worker = Worker::Start(OptionsFor(slot), context_.runtime, context_.loop, context_.clock,
                              std::move(events));
  if (!worker.ok()) {
    if (on_ready_) return Ready(worker.status());
    LogError("model '{}': a worker could not be started: {}", config_.name,
             worker.status().ToString());
    if (!available()) {
      dispatcher_->SetUnavailable(Unavailable("model '{}': its worker could not be started: {}",
                                              config_.name, worker.status().message()));
    }
    slot.restart->Set(context_.clock.Now() + RestartPolicy::kLongestPause);
    return;
  }
  slot.worker = std::move(*worker);
  SetState(slot, "starting");
}

Status ModelVersion::MakeDispatcher(LoadedModel loaded) {
  auto signature = ResolveSignature(config_, std::move(loaded.signature));
  if (!signature.ok()) return signature.status();
  {
    const std::lock_guard lock(info_mutex_);
    engine_ = loaded.engine;
  }
  samples_ = context_.sampler.Open(config_.name, *signature,
                                   config_.samples.value_or(context_.default_samples));
  DispatcherOptions options;
  options.model = config_.name;
  options.signature = std::move(*signature);
  options.batching = config_.batching;
  options.objective = config_.objective;
  options.hang_timeout = config_.hang_timeout;
  options.default_priority = config_.default_priority;
  options.input_capacity = LayoutFor(context_).input_capacity;
  options.node = context_.node;
  options.threads = threads_;
  options.spare_core = context_.cores > threads_;
  options.on_warm = [this](int id, const Status&) { OnWarm(id); };
  options.on_hang = [this](int id) {
    Slot& slot = *slots_[static_cast<size_t>(id)];
    LogWarning("model '{}': instance {} takes too long over a batch and is ended", config_.name,
               id);
    if (slot.worker) slot.worker->Kill("hung");
  };
  options.on_inputs = [stream = samples_.get()](std::span<const TensorView> inputs, int64_t rows) {
    stream->Offer(inputs, rows);
  };
  dispatcher_ = std::make_unique<Dispatcher>(std::move(options), context_.loop, context_.clock);
  return Status::Ok();
}

void ModelVersion::OnLoaded(Slot& slot, LoadedModel loaded) {
  if (ended_) return;
  if (dispatcher_ == nullptr) {
    if (const Status status = MakeDispatcher(std::move(loaded)); !status.ok()) return Ready(status);
  }
  slot.attached = true;
  dispatcher_->Attach(slot.id, slot.worker->channel());
}

void ModelVersion::OnWarm(int id) {
  Slot& slot = *slots_[static_cast<size_t>(id)];
  workers_up_.fetch_add(1, std::memory_order_relaxed);
  slot.answers_before = dispatcher_->Stats().success.count;
  slot.ready_since = context_.clock.Now();
  SetState(slot, "ready");
  dispatcher_->SetUnavailable(Status::Ok());
  Ready(Status::Ok());
  for (const auto& other : slots_) {
    if (other->worker == nullptr && other->policy.useless_ends() == 0 && !stopping_)
      StartWorker(*other);
  }
}

void ModelVersion::Ready(const Status& status) {
  if (!on_ready_) return;
  auto callback = std::exchange(on_ready_, nullptr);
  if (status.ok()) return callback(status);
  Stop([callback = std::move(callback), status] { callback(status); });
}

void ModelVersion::OnEnded(Slot& slot, const std::string& how) {
  const bool was_ready = [&] {
    const std::lock_guard lock(info_mutex_);
    InstanceInfo& info = infos_[static_cast<size_t>(slot.id)];
    info.last_end = how;
    ++info.restarts;
    return info.state == "ready";
  }();
  if (was_ready) workers_up_.fetch_sub(1, std::memory_order_relaxed);
  if (std::exchange(slot.attached, false)) dispatcher_->Detach(slot.id);
  // Time spent loading does no good: a worker that dies after a long load must not look useful.
  const Duration life = was_ready ? context_.clock.Now() - slot.ready_since : Duration::zero();
  // The worker is calling us: it is let go of once its event is over.
  context_.loop.Post([keep = std::shared_ptr<Worker>(std::move(slot.worker))] {});
  SetState(slot, "waiting to restart");
  if (ended_) return;
  if (!slot.load_failure.ok() && on_ready_) return Ready(slot.load_failure);
  const uint64_t answers =
      dispatcher_ ? dispatcher_->Stats().success.count - slot.answers_before : 0;
  const Duration pause = slot.policy.OnEnd(life, was_ready ? answers : 0);
  LogWarning("model '{}': worker of instance {} ended ({}), restart in {:.1f} s", config_.name,
             slot.id, how, Seconds(pause));
  if (on_ready_ && slot.policy.useless_ends() >= RestartPolicy::kLoadAttempts) {
    return Ready(Internal("model '{}': its workers end while loading: {}", config_.name, how));
  }
  if (!on_ready_ && !available() && pause >= RestartPolicy::kTooLong) {
    dispatcher_->SetUnavailable(
        Unavailable("model '{}': its workers end again and again, last: {}", config_.name, how));
  }
  slot.restart->Set(context_.clock.Now() + pause);
}

void ModelVersion::Stop(std::function<void()> on_stopped) {
  stopping_ = true;
  if (on_ready_)
    std::exchange(on_ready_,
                  nullptr)(Unavailable("model '{}' was unloaded while it loaded", config_.name));
  auto finish = [this, on_stopped = std::move(on_stopped)] {
    EndWorkers();
    // Callbacks of this turn may still be on the stack.
    context_.loop.Post([self = std::exchange(self_, nullptr), on_stopped] { on_stopped(); });
  };
  if (dispatcher_ == nullptr) return finish();
  // A worker that is being restarted is waited for: accepted requests are not lost.
  dispatcher_->Drain(std::move(finish));
}

void ModelVersion::Abandon() {
  if (dispatcher_ == nullptr) return;
  dispatcher_->SetUnavailable(Unavailable("model '{}' is being unloaded", config_.name));
  // What runs would be waited for until it counts as hung.
  for (const auto& slot : slots_) {
    if (slot->worker) slot->worker->Kill("the server is ending");
  }
}

void ModelVersion::EndWorkers() {
  ended_ = true;
  for (const auto& slot : slots_) {
    slot->restart.reset();
    if (std::exchange(slot->attached, false)) dispatcher_->Detach(slot->id);
    if (slot->worker)
      context_.loop.Post([keep = std::shared_ptr<Worker>(std::move(slot->worker))] {});
  }
  if (dispatcher_) dispatcher_->Close();
  workers_up_.store(0, std::memory_order_relaxed);
}

std::vector<ModelVersion::InstanceInfo> ModelVersion::Instances() const {
  const std::lock_guard lock(info_mutex_);
  return infos_;
}

std::string ModelVersion::EngineInfo() const {
  const std::lock_guard lock(info_mutex_);
  return engine_;
}

}  // namespace evenkeel
