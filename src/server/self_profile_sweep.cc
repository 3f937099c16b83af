// The thread that measures.
#include <fcntl.h>
#include <sys/file.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <utility>

#include "core/format.h"
#include "core/log.h"
#include "profiling/cell_runner.h"
#include "profiling/model_digest.h"
#include "profiling/model_profile.h"
#include "server/self_profile.h"
#include "server/self_profile_entry.h"

namespace evenkeel {
namespace {

using namespace std::chrono_literals;

constexpr Duration kLookForWork = 1s;
constexpr Duration kLookForHand = 200ms;
constexpr Duration kLookForRoom = 10s;  // on the device, for what was left out
constexpr int64_t kBesideDevice = int64_t{1}
                                  << 30;  // of the host, as the ladder of GPU shapes has it

// `evenkeel profile` holds this file's lock while it measures. What it asks for goes first.
bool ProfileByHandRuns(const std::string& state) {
  const ipc::UniqueFd lock(::open((state + "/profile/lock").c_str(), O_RDONLY | O_CLOEXEC));
  return lock.get() >= 0 && ::flock(lock.get(), LOCK_SH | LOCK_NB) != 0;
}

}  // namespace

// One sweep of one model.
struct SelfProfile::Job {
  ModelConfig config;
  Signature signature;
  DeviceClass device = DeviceClass::kCpu;  // what it may run on
  HostSize host;
  int most = 1;                // rows that fit into a worker's buffer
  bool unfit_samples = false;  // there are samples, and none that this signature takes
  std::vector<CellShape> left_out;
  std::unique_ptr<DeviceLoan> loan;  // outlives the worker that runs on it
  std::unique_ptr<ContainerCells> cells;
};

class SelfProfile::Gate final : public StintGate {
 public:
  Gate(SelfProfile& profile, const Entry& entry) : profile_(profile), entry_(entry) {}

  Status Begin() override {
    for (;;) {
      const Time now = profile_.clock_.Now();
      const ServingState serving = profile_.ServingNow(now);
      SweepPace::Verdict verdict = profile_.pace_.MayBegin(serving, now);
      if (verdict.run && ProfileByHandRuns(profile_.options_.state))
        verdict = {false, now + kLookForHand, "`evenkeel profile` is running"};
      std::unique_lock lock(profile_.mutex_);
      if (profile_.stopping_ || entry_.gone) return Cancelled("the model is not served any more");
      if (profile_.recalled_) return Cancelled("an instance needs the share of the device");
      profile_.paused_ = verdict.why;
      if (verdict.run) {
        profile_.pace_.Began(now);
        return Status::Ok();
      }
      profile_.changed_.wait_for(lock, verdict.look_again - now, [this] {
        return profile_.stopping_ || entry_.gone || profile_.recalled_;
      });
    }
  }

  bool End(const Stint& stint) override {
    const Time now = profile_.clock_.Now();
    const bool counts = profile_.pace_.Ended(stint, profile_.ServingNow(now), now);
    const std::lock_guard lock(profile_.mutex_);
    profile_.core_s_ += stint.core_s;
    return counts;
  }

 private:
  SelfProfile& profile_;
  const Entry& entry_;
};

ServingState SelfProfile::ServingNow(Time now) const {
  std::vector<std::shared_ptr<ProfiledModel>> served;
  {
    const std::lock_guard lock(mutex_);
    served = served_;
  }
  ServingState all;
  for (const auto& model : served) {
    const ServingState one = model->Serving(now);
    all.last_arrival = std::max(all.last_arrival, one.last_arrival);
    all.worst_wait = std::max(all.worst_wait, one.worst_wait);
  }
  if (options_.others_busy && options_.others_busy()) all.last_arrival = now;
  return all;
}

void SelfProfile::SweepLoop() {
  // Reading models and copying rows gives way to what serves.
  ::setpriority(PRIO_PROCESS, static_cast<id_t>(::syscall(SYS_gettid)), 10);
  if (!WaitFor(options_.after)) return;
  while (!MakeSweepRuntime()) {
    if (!WaitFor(kRetry)) return;
  }
  for (;;) {
    if (const EntryPtr entry = NextToSweep()) {
      Sweep(*entry);
      const std::lock_guard lock(mutex_);
      sweeping_ = nullptr;
      paused_.clear();
      continue;
    }
    std::unique_lock lock(mutex_);
    changed_.wait_for(lock, kLookForWork);
    if (stopping_) break;
  }
  runtime_->EndAll();
  runtime_.reset();
}

// In a folder of its own: what a killed daemon left of a sweep is removed here, and nothing else is.
bool SelfProfile::MakeSweepRuntime() {
  std::error_code error;
  std::filesystem::create_directories(options_.state + "/self_profile",
                                      error);  // it says so if that failed
  auto runtime = MakeRuntime({std::string(evenkeel::NameOf(options_.rung)),
                              options_.state + "/self_profile", options_.libexec});
  const std::lock_guard lock(mutex_);
  if (!runtime.ok()) {
    runtime_failure_ = runtime.status().message();
    LogWarning("models are not measured: {}", runtime_failure_);
    return false;
  }
  runtime_failure_.clear();
  runtime_ = std::move(*runtime);
  return true;
}

SelfProfile::EntryPtr SelfProfile::NextToSweep() {
  const Time now = clock_.Now();
  const std::lock_guard lock(mutex_);
  if (stopping_) return nullptr;
  for (const auto& [model, entry] : entries_) {
    if (now < entry->try_at) continue;
    const bool resampled = now >= entry->samples_at && HasSamplesFor(*entry);
    const bool waits = entry->phase == Phase::kWaiting || entry->phase == Phase::kFailed ||
                       (entry->phase == Phase::kComplete && (HasRoomFor(*entry) || resampled));
    if (!waits) continue;
    sweeping_ = entry;
    uint64_t ignored = 0;
    if (::read(cancel_.get(), &ignored, sizeof ignored) < 0) ignored = 0;  // of an earlier one
    return entry;
  }
  return nullptr;
}

void SelfProfile::Sweep(Entry& entry) {
  Job job;
  std::string engine;
  if (const auto model = entry.model.lock()) {
    job.config = model->config();
    job.signature = model->signature();
    job.device = model->device_class();
    engine = model->EngineInfo();
  } else {
    return;
  }
  const Status status = SweepCells(entry, job, engine);
  if (status.ok()) return;
  const std::lock_guard lock(mutex_);
  if (status.code() == Code::kCancelled || entry.gone) {
    entry.phase = Phase::kWaiting;
    return;
  }
  entry.phase = Phase::kFailed;
  entry.why = status.message();
  entry.try_at = clock_.Now() + kRetry;
  LogWarning("model '{}' cannot be measured, and is tried again in {:.0f} min: {}", entry.label,
             Seconds(kRetry) / 60, status.message());
}

Result<RowPool> SelfProfile::RowsFor(const ModelConfig& config, const Signature& signature,
                                     std::string* inputs, bool* unfit) {
  std::vector<std::string> warnings;
  auto kept = RowsFromSampler(sampler_.Snapshot(config.name), signature, kLeastSamples, &warnings);
  for (const std::string& line : warnings) LogWarning("model '{}': {}", config.name, line);
  *inputs = kept ? kFromSamples : kFromSignature;
  *unfit = !kept && !warnings.empty();
  if (kept) return std::move(*kept);
  return MadeUpRows(signature);
}

std::string SelfProfile::TakeKept(const TableKey& key, const std::string& inputs, SweepPlan* plan) {
  const std::lock_guard lock(store_mutex_);
  const auto kept = store_->Get(key, inputs);
  if (!kept.ok()) {
    if (!std::exchange(told_unwritable_, true)) LogWarning("{}", kept.status().message());
    return {};
  }
  for (const LoadRow& row : kept->rows) plan->Record(row);
  return kept->inputs;
}

void SelfProfile::Keep(const TableKey& key, const std::string& inputs, const LoadRow& row) {
  const std::lock_guard lock(store_mutex_);
  const Status kept = store_->Put(key, inputs, row);
  if (!kept.ok() && !std::exchange(told_unwritable_, true))
    LogWarning("{}: what is measured is kept until the daemon ends", kept.message());
}

void SelfProfile::Publish(Entry& entry, const SweepPlan& plan) {
  LoadRows table = plan.Table();
  const std::lock_guard lock(mutex_);
  entry.cells_run = plan.measured();
  entry.cells_expected = plan.expected();
  entry.cells = plan.cells();
  // A whole table is not given up for a part of one.
  if (!entry.complete) entry.rows = std::move(table);
}

Status SelfProfile::SweepCells(Entry& entry, Job& job, const std::string& engine) {
  job.host = host_;
  Gate gate(*this, entry);
  CellRunnerOptions options = CellsOf(job.config, options_.libexec, options_.cache);
  std::string device = "CPU";
  if (job.device != DeviceClass::kCpu) {
    const auto first = options_.accelerators->first();
    if (!first) return Unsupported("{}", options_.accelerators->Say());
    job.host.gpu_cores = first->size.cores;
    job.host.gpu_memory_bytes = first->size.memory_bytes;
    options.emulated = options_.accelerators->emulated();
    options.gpu_device = first->engine_device;
    device = TableDevice(options.emulated, first->engine_device);
  }
  auto key = TableKeyOf(job.config, host_, options_.rung, engine, device);
  if (!key.ok()) return key.status();
  const auto stamp = ModelStamp(job.config);
  if (!stamp.ok()) return stamp.status();
  std::string inputs;
  auto pool = RowsFor(job.config, job.signature, &inputs, &job.unfit_samples);
  if (!pool.ok()) return pool.status();

  options.cpus = options_.worker_cpus;
  options.cancel_fd = cancel_.get();
  options.gate = &gate;
  options.background = true;
  job.cells = std::make_unique<ContainerCells>(std::move(options), *runtime_);
  job.cells->Assume(job.signature);
  job.cells->SetRows(std::move(*pool));
  job.most = job.cells->LargestBatch();

  auto plan = PlanFor(job);
  if (!plan.ok()) return plan.status();
  bool fresh = false;
  {
    const std::lock_guard lock(mutex_);
    entry.key = *key;
    entry.host = job.host;
    entry.stamp = *stamp;
    entry.inputs = inputs;
    fresh = std::exchange(entry.fresh, false);
  }
  if (fresh) {
    const std::lock_guard lock(store_mutex_);
    if (const Status removed = store_->Remove(*key); !removed.ok())
      LogWarning("{}", removed.message());
  }
  const Status status = RunCells(entry, job, *plan);
  job.cells.reset();  // before the gate
  return status;
}

Result<SweepPlan> SelfProfile::PlanFor(const Job& job) const {
  SweepPlan::Grid grid;
  auto shapes = ShapesOfClasses(options_.shapes, options_.rung, job.host, job.device);
  if (!shapes.ok()) return shapes.status();
  grid.shapes = std::move(*shapes);
  if (const DeviceSize& given = job.config.gpu_shape; given.cores > 0) {
    // The manifest has chosen.
    CellShape one{1000, kBesideDevice, given.cores, given.memory_bytes};
    if (std::erase_if(grid.shapes, [](const CellShape& shape) { return shape.gpu(); }) > 0)
      grid.shapes.push_back(one);
  }
  std::erase_if(grid.shapes, [&job](const CellShape& shape) {
    return std::ranges::find(job.left_out, shape) != job.left_out.end();
  });
  if (grid.shapes.empty())
    return Unavailable("the accelerator has no room for any of its shapes: {}",
                       options_.accelerators->Say());
  grid.batches = BatchesFor(job.signature, job.most);
  grid.precisions = PrecisionsToSweep(job.config, ThisMachine(host_));
  return SweepPlan(std::move(grid));
}

// A share of the device for cells of the shape, if they need one. Error kUnavailable: there is no room for it.
Status SelfProfile::HoldShare(const Entry& entry, Job& job, const CellShape& shape) {
  const DeviceSize size = DeviceShareOf(shape);
  if (job.loan ? job.loan->size() == size : !shape.gpu()) return Status::Ok();
  job.cells->LetGo();
  job.loan.reset();
  {
    const std::lock_guard lock(mutex_);
    recalled_ = false;
  }
  if (!shape.gpu()) return Status::Ok();
  auto loan = options_.accelerators->Lend(size, [this] {
    {
      const std::lock_guard lock(mutex_);
      recalled_ = true;
      const uint64_t one = 1;
      if (::write(cancel_.get(), &one, sizeof one) < 0) LogDebug("the sweep was cancelled before");
    }
    changed_.notify_all();
  });
  if (loan.ok()) {
    job.loan = std::move(*loan);
    return Status::Ok();
  }
  LogDebug("model '{}': {} is measured later: {}", entry.label, ShapeText(shape),
           loan.status().message());
  return loan.status();
}

// Its cells ended because an instance needs their share of the device, and for no other reason.
bool SelfProfile::WasRecalled(const Entry& entry) {
  const std::lock_guard lock(mutex_);
  if (!std::exchange(recalled_, false)) return false;
  uint64_t ignored = 0;
  if (::read(cancel_.get(), &ignored, sizeof ignored) < 0) ignored = 0;
  return !stopping_ && !entry.gone;
}

// REQUIRES: mutex_ held.
bool SelfProfile::HasRoomFor(const Entry& entry) const {
  if (entry.left_out.empty()) return false;
  const DeviceSize room = options_.accelerators->Room();
  return std::ranges::any_of(entry.left_out, [&room](const CellShape& shape) {
    return FitsRoom(DeviceShareOf(shape), {}, room, 1);
  });
}

// What is measured with sampled inputs replaces what was measured without. REQUIRES: mutex_ held.
bool SelfProfile::HasSamplesFor(const Entry& entry) const {
  if (entry.rows_sampled) return false;
  return std::ranges::any_of(sampler_.Snapshot(entry.key.model),
                             [](const SampleSet& set) { return set.rows.size() >= kLeastSamples; });
}

Status SelfProfile::RunCells(Entry& entry, Job& job, SweepPlan& plan) {
  const Time begin = clock_.Now();
  bool told = false;
  std::string rows_from;
  for (;;) {
    // Also what `evenkeel profile` has measured meanwhile.
    rows_from = TakeKept(entry.key, entry.inputs, &plan);
    Publish(entry, plan);
    const auto cell = plan.Next();
    if (!cell) break;
    {
      const std::lock_guard lock(mutex_);
      if (stopping_ || entry.gone) return Cancelled("the model is not served any more");
      entry.phase = Phase::kSweeping;
      if (!std::exchange(told, true)) {
        LogInfo(
            "model '{}': is measured beside serving: about {} of {} cells, {} known, inputs "
            "from {}",
            entry.label, entry.cells_expected, entry.cells, entry.cells_run, entry.inputs);
      }
    }
    const Status share = HoldShare(entry, job, cell->shape);
    const auto row = share.ok() ? job.cells->Run(*cell) : share;
    if (row.ok()) {
      plan.Record(*row);
      Keep(entry.key, entry.inputs, *row);
      continue;
    }
    if (share.ok() && (row.status().code() != Code::kCancelled || !WasRecalled(entry)))
      return row.status();
    if (!cell->shape.gpu()) continue;  // a recall that came late
    // Serving comes first: what there is no room for is left out, until there is.
    job.cells->LetGo();
    job.loan.reset();
    job.left_out.push_back(cell->shape);
    auto rest = PlanFor(job);
    if (!rest.ok()) return rest.status();
    plan = std::move(*rest);
  }
  {
    const std::lock_guard lock(mutex_);
    if (told && !job.left_out.empty())
      LogInfo("model '{}': {} shapes are measured later: the accelerator has no room for them",
              entry.label, job.left_out.size());
    entry.left_out = job.left_out;
    entry.try_at = clock_.Now() + kLookForRoom;
    entry.samples_at = clock_.Now() + (job.unfit_samples ? kRetry : kLookForSamples);
  }
  return Complete(entry, plan, rows_from, told, Seconds(clock_.Now() - begin));
}

std::vector<int> SelfProfile::BatchesFor(const Signature& signature, int most) const {
  const int largest = signature.batched ? std::min(signature.max_batch, most) : 1;
  std::optional<std::string> listed = options_.batches;
  auto batches = BatchesToSweep(std::nullopt, signature, most);
  if (!listed) return *batches;
  // Sizes that one model cannot take are another's.
  Signature any;
  any.batched = true;
  any.max_batch = 1 << 16;
  batches = BatchesToSweep(listed, any, 1 << 16);
  std::erase_if(*batches, [largest](int rows) { return rows > largest; });
  if (batches->empty()) batches->push_back(1);
  return *batches;
}

Status SelfProfile::Complete(Entry& entry, const SweepPlan& plan, std::string_view rows_from,
                             bool swept, double seconds) {
  LoadRows rows = plan.Table();
  const auto advice = AdviceFor(rows);
  const bool errors = std::ranges::any_of(
      rows, [](const LoadRow& row) { return row.outcome == CellOutcome::kError; });
  if (advice && errors) {
    // Nothing was learnt of the model: perhaps of the containers.
    const std::lock_guard lock(store_mutex_);
    if (const Status removed = store_->Remove(entry.key); !removed.ok())
      LogWarning("{}", removed.message());
    return Unavailable("{}", *advice);
  }
  if (rows_from == kFromSamples) {
    const std::lock_guard lock(store_mutex_);
    if (const Status removed = store_->RemoveMadeUp(entry.key); !removed.ok())
      LogWarning("{}", removed.message());
  }
  const std::lock_guard lock(mutex_);
  entry.rows = std::move(rows);
  // Where the store keeps nothing the rows are those of this sweep.
  if (!rows_from.empty()) entry.inputs = rows_from;
  entry.rows_sampled = entry.inputs == kFromSamples;
  entry.complete = true;
  entry.phase = Phase::kComplete;
  entry.why.clear();
  entry.advice = advice.value_or("");
  entry.cpu.redecide = entry.gpu.redecide = true;
  ExpectTimes(entry);
  if (swept) {
    entry.measured = clock_.Now();
    ++entry.times_measured;
    LogInfo("model '{}': load table complete, {} of {} cells run, {:.1f} s", entry.label,
            plan.measured(), plan.cells(), seconds);
  }
  if (advice) LogWarning("model '{}': {}; it is served as before", entry.label, *advice);
  return Status::Ok();
}

}  // namespace evenkeel
