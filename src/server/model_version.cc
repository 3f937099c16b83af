#include "server/model_version.h"

#include <algorithm>
#include <utility>

#include "containers/node_memory.h"
#include "core/check.h"
#include "core/format.h"
#include "core/log.h"
#include "repository/signature.h"

namespace evenkeel {
namespace {

constexpr size_t kArenaBytes = size_t{256} << 20;      // address space, not memory
constexpr Duration kRecent = std::chrono::minutes(1);  // that instances go down to the peak of
constexpr size_t kArenaSlack = size_t{1} << 20;        // alignment of a largest request's tensors

ipc::Layout LayoutFor(const ServingContext& context) {
  ipc::Layout layout;
  layout.input_capacity = std::max(kArenaBytes, context.max_body_bytes + kArenaSlack);
  layout.output_capacity = kArenaBytes;
  return layout;
}

DeviceClass ClassOf(const ModelConfig& config, const ServingContext& context) {
  const bool method = context.node != nullptr && context.node->policy_name() == "method";
  return ClassToServe(config, context.accelerators, method);
}

ModelConfig WithNodesBatching(ModelConfig config, const ServingContext& context) {
  if (context.fixed_delay && config.batching.policy == BatchingPolicy::kAuto) {
    config.batching.policy = BatchingPolicy::kFixed;
    config.batching.max_delay = *context.fixed_delay;
  }
  return config;
}

// A worker with its share of an accelerator, which goes back with it.
class DeviceWorker final : public InstanceWorker {
 public:
  DeviceWorker(DeviceGrant grant, std::unique_ptr<Worker> worker)
      : grant_(std::move(grant)), worker_(std::move(worker)) {}
  pid_t pid() const override { return worker_->pid(); }
  ipc::Channel* channel() override { return worker_->channel(); }
  InstanceDevice device() const override { return {grant_.label, grant_.shape}; }
  void Kill(std::string why) override { worker_->Kill(std::move(why)); }

 private:
  DeviceGrant grant_;  // goes last
  std::unique_ptr<Worker> worker_;
};

}  // namespace

ModelVersion::ModelVersion(ServingContext& context, ModelConfig config)
    : context_(context),
      config_(WithNodesBatching(std::move(config), context)),
      version_(std::to_string(config_.version)),
      device_class_(ClassOf(config_, context)),
      instances_(*this, config_.name, context.loop, context.clock),
      on_device_(device_class_ == DeviceClass::kAuto
                     ? std::make_unique<InstanceSet>(static_cast<Owner&>(*this), config_.name,
                                                     context.loop, context.clock, kDeviceIds)
                     : nullptr) {}

ModelVersion::~ModelVersion() = default;

void ModelVersion::Start(std::function<void(Status)> on_ready) {
  self_ = shared_from_this();
  on_ready_ = std::move(on_ready);
  if (device_class_ == DeviceClass::kGpu &&
      (context_.accelerators == nullptr || !context_.accelerators->any())) {
    return Ready(Unsupported("model '{}': class gpu: {}", config_.name,
                             context_.accelerators == nullptr ? "no accelerator is served"
                                                              : context_.accelerators->Say()));
  }
  // The others start once the first has shown that the model loads.
  instances_.Start(first_form_ != nullptr ? first_form_ : FirstForm());
}

void ModelVersion::Adopt(InstanceForm form, std::function<void(Status)> done) {
  EK_CHECK(form.threads >= 1);
  if (stopping_) {
    if (done) done(Unavailable("model '{}' is being unloaded", config_.name));
    return;
  }
  if (device_class_ == DeviceClass::kGpu && form.device != DeviceClass::kGpu) {
    if (done) done(Unsupported("model '{}' runs on an accelerator alone", config_.name));
    return;
  }
  auto adopted = std::make_shared<const InstanceForm>(std::move(form));
  const bool beside = on_device_ != nullptr && adopted->device == DeviceClass::kGpu;
  InstanceSet& set = beside ? *on_device_ : instances_;
  if (set.form() == nullptr) {
    (beside ? first_on_device_ : first_form_) = std::move(adopted);
    if (done) done(Status::Ok());
    return;
  }
  LogInfo("model '{}': instances are of {} from now on: {}", config_.name, adopted->Name(),
          adopted->why);
  if (&set == &Leading()) held_by_one_ = 0;
  set.Adopt(std::move(adopted), std::move(done));
  OnChange();
}

// What the settings say, until a selector knows better.
std::shared_ptr<const InstanceForm> ModelVersion::FirstForm() const {
  if (device_class_ == DeviceClass::kGpu) return DeviceForm();
  InstanceForm form;
  form.threads = config_.threads > 0 ? config_.threads : context_.default_threads;
  form.precision = config_.precision;
  form.why = config_.threads > 0 ? "threads as the model's settings say"
                                 : "threads as the server's settings say; nothing was measured yet";
  return std::make_shared<const InstanceForm>(std::move(form));
}

std::shared_ptr<const InstanceForm> ModelVersion::DeviceForm() const {
  InstanceForm form;
  form.device = DeviceClass::kGpu;
  form.device_share = config_.gpu_shape;
  const auto& emulated = context_.accelerators->emulated();
  form.host_cores = emulated ? emulated->host_cores : 0;
  form.threads = config_.threads > 0 ? config_.threads : context_.default_threads;
  form.precision = config_.precision;
  form.why = config_.gpu_shape.cores > 0
                 ? "gpu_shape as the model's settings say"
                 : "a quarter of the device; the settings name no gpu_shape";
  return std::make_shared<const InstanceForm>(std::move(form));
}

Result<std::unique_ptr<InstanceWorker>> ModelVersion::StartWorker(int id, const InstanceForm& form,
                                                                  WorkerEvents events) {
  WorkerOptions options;
  options.spec.executable = context_.libexec + "/evenkeel-worker-" + config_.engine;
  options.spec.cpus = context_.worker_cpus;
  options.spec.log_name = fmt::format("{}/{}#{}", config_.name, version_, id);
  options.spec.readable = {FolderOf(config_)};
  if (!context_.cache.empty()) options.spec.writable = {context_.cache};
  options.spec.shape = form.shape;
  options.spec.hard_cap = config_.hard_cores.value_or(context_.hard_cores);
  options.engine.path = config_.path;
  options.engine.device = "CPU";
  options.engine.threads = form.threads;
  options.engine.bf16 = form.precision == Precision::kBf16;
  options.engine.cache_dir = context_.cache;
  options.layout = LayoutFor(context_);
  options.may_spin = context_.cores > 1 && form.device == DeviceClass::kCpu;
  DeviceGrant grant;
  if (form.device == DeviceClass::kGpu) {
    auto taken = context_.accelerators->Take(form.device_share);
    if (!taken.ok()) return taken.status().Annotate(fmt::format("model '{}'", config_.name));
    grant = std::move(*taken);
    options.engine.device = grant.engine_device;
    options.engine.emulated = grant.emulated;
  }
  auto worker = Worker::Start(std::move(options), context_.runtime, context_.loop, context_.clock,
                              std::move(events));
  if (!worker.ok()) return worker.status();
  if (!grant.share) return std::unique_ptr<InstanceWorker>(std::move(*worker));
  return std::unique_ptr<InstanceWorker>(
      std::make_unique<DeviceWorker>(std::move(grant), std::move(*worker)));
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
  options.device = device_class_;
  options.cores = context_.cores;
  options.loop_lag = context_.loop_lag;
  options.on_warm = [this](int id, const Status&) { SetOf(id).OnWarm(id); };
  options.on_hang = [this](int id) { SetOf(id).OnHang(id); };
  options.on_starved = [this, weak = weak_from_this()] {
    // On any thread; this version may be gone when the loop gets there.
    context_.loop.Post([weak] {
      if (const auto self = weak.lock()) self->OnStarved();
    });
  };
  options.on_inputs = [stream = samples_.get()](std::span<const TensorView> inputs, int64_t rows) {
    stream->Offer(inputs, rows);
  };
  dispatcher_ = std::make_unique<Dispatcher>(std::move(options), context_.loop, context_.clock);
  return Status::Ok();
}

Dispatcher* ModelVersion::OnLoaded(LoadedModel loaded) {
  if (dispatcher_ == nullptr) {
    if (const Status status = MakeDispatcher(std::move(loaded)); !status.ok()) {
      Ready(status);
      return nullptr;
    }
  }
  return dispatcher_.get();
}

void ModelVersion::OnReady(int id) {
  no_room_ = false;
  at_rest_ = false;
  (id >= kDeviceIds ? device_fails_ : host_fails_) = false;
  dispatcher_->SetUnavailable(Status::Ok());
  if (serves_since_ == Time{}) {
    serves_since_ = context_.clock.Now();
    if (!stopping_ && context_.keeper != nullptr) {
      context_.keeper->Join(this);
    } else if (!stopping_) {
      planned_ = std::max(1, config_.instances);
    }
  }
  if (!stopping_) Spread();
  Ready(Status::Ok());
}

void ModelVersion::OnChange() {
  {
    const std::lock_guard lock(info_mutex_);
    state_.form = Leading().form();
    state_.start_up = Leading().start_up();
    state_.wanted = Leading().wanted();
  }
  if (context_.keeper != nullptr) context_.keeper->Ask();
}

// Something waits, and no instance is there that could run it.
void ModelVersion::OnStarved() {
  if (!stopping_ && context_.keeper != nullptr) return context_.keeper->Ask();
  if (instances_.count() == 0) {
    planned_ = std::max(1, planned_);
    Spread();
  }
}

int ModelVersion::LeastInstances() const {
  // A number that was fixed stays, unless the model's own settings say otherwise.
  const int otherwise = config_.instances > 0 ? config_.instances : context_.min_instances;
  return config_.min_instances.value_or(otherwise);
}

Duration ModelVersion::KeepAlive() const {
  return config_.keep_alive.value_or(context_.keep_alive);
}

int64_t ModelVersion::HeldByOne() const {
  int64_t most = held_by_one_;
  const InstanceSet& set = Leading();
  for (const auto& info : set.Infos()) {
    if (info.form == set.form() && info.state == "ready")
      most = std::max(most, HeldMemory(info.pid));
  }
  const auto& shape = set.form()->shape;
  return most > 0 || !shape ? most : shape->memory_bytes;
}

policy::InstancesView ModelVersion::Look(Time /*now*/) {
  const InstanceSet& set = Leading();
  const Dispatcher::Demand demand = dispatcher_->DemandNow(set.start_up(), kRecent);
  held_by_one_ = HeldByOne();
  policy::InstancesView view;
  view.rate_rps = demand.load.rate_rps;
  view.peak_rps = demand.load.peak_rps;
  view.batch_rows = demand.load.batch_rows;
  view.batch_time = demand.load.batch_time;
  view.start_up = set.start_up();
  constexpr double kNextToNone = 0.01;
  view.cores = std::max<double>(kNextToNone, set.form()->busy_threads());  // as the gate
  view.memory_bytes = held_by_one_;
  view.up = set.up();
  view.starting = set.starting();
  view.successors = std::max(0, set.count() - set.wanted());
  view.ending = set.ending();
  view.last_request = demand.load.last_arrival;
  view.since = serves_since_;
  view.waits = demand.has_work;
  // Nobody plans how a device is shared out: there are as many on it as the settings say.
  if (&set == on_device_.get()) {
    view.fixed = config_.gpu_instances;
  } else if (config_.instances > 0 || device_class_ == DeviceClass::kGpu) {
    view.fixed = std::max(1, config_.instances);
  }
  view.min_instances = LeastInstances();
  view.min_pinned = config_.min_instances.has_value();
  view.keep_alive = KeepAlive();
  return view;
}

void ModelVersion::Follow(const policy::InstancesPlan& plan) {
  if (stopping_) return;
  if (const int before = planned_; before != plan.wanted) {
    LogInfo("model '{}': {} instances instead of {}: {}", config_.name, plan.wanted, before,
            plan.why);
  }
  planned_ = plan.wanted;
  Spread();
  if (plan.no_room && up() == 0) {
    // Nobody is made to wait for what may never come.
    no_room_ = true;
    dispatcher_->SetUnavailable(Unavailable(
        "model '{}' has no instance, and there is no memory for one: {}", config_.name, plan.why));
  } else if (no_room_ || (plan.wanted == 0 && instances_.count() == 0)) {
    no_room_ = false;
    dispatcher_->SetUnavailable(Status::Ok());
  }
  if (plan.wanted == 0) at_rest_ = !plan.no_room;
  const std::lock_guard lock(info_mutex_);
  state_.wanted = plan.wanted;
  state_.why = plan.why;
  state_.form = Leading().form();
  state_.start_up = Leading().start_up();
  state_.memory_bytes = held_by_one_;
}

void ModelVersion::Ready(const Status& status) {
  if (!on_ready_) return;
  auto callback = std::exchange(on_ready_, nullptr);
  if (status.ok()) return callback(status);
  Stop([callback = std::move(callback), status] { callback(status); });
}

void ModelVersion::OnTrouble(const InstanceTrouble& trouble) {
  using Kind = InstanceTrouble::Kind;
  const bool other_comes = NoteTrouble(trouble);
  if (trouble.id >= kDeviceIds) return;  // calls wait for instances on the processor
  if (on_ready_) {
    if (trouble.kind != Kind::kEnded) return Ready(trouble.why);
    if (trouble.useless_ends >= RestartPolicy::kLoadAttempts) {
      Ready(Internal("model '{}': its workers end while loading: {}", config_.name, trouble.how));
    }
    return;
  }
  if (trouble.kind == Kind::kNotStarted) {
    LogError("model '{}': a worker could not be started: {}", config_.name, trouble.why.ToString());
  }
  if (up() > 0 || trouble.pause < RestartPolicy::kTooLong) return;
  // Another may come up: it loads, or is started in this turn.
  const bool comes =
      other_comes || instances_.loading() > 0 || (on_device_ && on_device_->loading() > 0);
  if (comes || instances_.count() < instances_.wanted()) return;
  at_rest_ = false;
  dispatcher_->SetUnavailable(
      trouble.kind == Kind::kNotStarted
          ? Unavailable("model '{}': its worker could not be started: {}", config_.name,
                        trouble.why.message())
          : Unavailable("model '{}': its workers end again and again, last: {}", config_.name,
                        trouble.how));
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
  if (context_.keeper != nullptr) context_.keeper->Leave(this);
  if (dispatcher_ == nullptr) return finish();
  const bool none = instances_.count() == 0 && (!on_device_ || on_device_->count() == 0);
  if (none && dispatcher_->DemandNow({}, {}).has_work) instances_.SetWanted(1);
  // A worker that is being restarted is waited for: accepted requests are not lost.
  dispatcher_->Drain(std::move(finish));
}

void ModelVersion::Abandon() {
  if (dispatcher_ == nullptr) return;
  dispatcher_->SetUnavailable(Unavailable("model '{}' is being unloaded", config_.name));
  // What runs would be waited for until it counts as hung.
  instances_.KillAll("the server is ending");
  if (on_device_) on_device_->KillAll("the server is ending");
}

void ModelVersion::EndWorkers() {
  instances_.End();
  if (on_device_) on_device_->End();
  if (dispatcher_) dispatcher_->Close();
}

ModelVersion::InstancesState ModelVersion::InstancesNow() const {
  InstancesState state;
  {
    const std::lock_guard lock(info_mutex_);
    state = state_;
  }
  state.up = up();
  state.starts = instances_.starts() + (on_device_ ? on_device_->starts() : 0);
  state.restarts = instances_.restarts() + (on_device_ ? on_device_->restarts() : 0);
  state.out_of_memory = instances_.out_of_memory() + (on_device_ ? on_device_->out_of_memory() : 0);
  state.min_instances = LeastInstances();
  state.keep_alive = KeepAlive();
  return state;
}

std::vector<InstanceSet::Info> ModelVersion::Instances() const {
  auto infos = instances_.Infos();
  if (!on_device_) return infos;
  for (auto& info : on_device_->Infos()) infos.push_back(std::move(info));
  return infos;
}

std::string ModelVersion::device_label() const {
  for (const auto& info : Instances()) {
    if (info.device.share) return info.device.label;
  }
  const bool emulated = context_.accelerators != nullptr && context_.accelerators->emulated();
  return emulated ? "EMULATED" : "GPU";
}

std::string ModelVersion::EngineInfo() const {
  const std::lock_guard lock(info_mutex_);
  return engine_;
}

}  // namespace evenkeel
