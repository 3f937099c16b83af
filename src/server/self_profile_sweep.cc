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

// `evenkeel profile` holds this file's lock while it measures. What it asks for goes first.
bool ProfileByHandRuns(const std::string& state) {
  const ipc::UniqueFd lock(::open((state + "/profile/lock").c_str(), O_RDONLY | O_CLOEXEC));
  return lock.get() >= 0 && ::flock(lock.get(), LOCK_SH | LOCK_NB) != 0;
}

}  // namespace

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
      profile_.paused_ = verdict.why;
      if (verdict.run) {
        profile_.pace_.Began(now);
        return Status::Ok();
      }
      profile_.changed_.wait_for(lock, verdict.look_again - now,
                                 [this] { return profile_.stopping_ || entry_.gone; });
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
    const bool waits = entry->phase == Phase::kWaiting || entry->phase == Phase::kFailed;
    if (!waits || now < entry->try_at) continue;
    sweeping_ = entry;
    uint64_t ignored = 0;
    if (::read(cancel_.get(), &ignored, sizeof ignored) < 0) ignored = 0;  // of an earlier one
    return entry;
  }
  return nullptr;
}

void SelfProfile::Sweep(Entry& entry) {
  ModelConfig config;
  Signature signature;
  std::string engine;
  if (const auto model = entry.model.lock()) {
    config = model->config();
    signature = model->signature();
    engine = model->EngineInfo();
  } else {
    return;
  }
  const Status status = SweepCells(entry, config, signature, engine);
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
                                     std::string* inputs) {
  std::vector<std::string> warnings;
  auto kept = RowsFromSampler(sampler_.Snapshot(config.name), signature, kLeastSamples, &warnings);
  for (const std::string& line : warnings) LogWarning("model '{}': {}", config.name, line);
  *inputs = kept ? kFromSamples : kFromSignature;
  if (kept) return std::move(*kept);
  return MadeUpRows(signature);
}

void SelfProfile::TakeKept(const TableKey& key, const std::string& inputs, SweepPlan* plan) {
  const std::lock_guard lock(store_mutex_);
  const auto kept = store_->Get(key, inputs);
  if (!kept.ok()) {
    if (!std::exchange(told_unwritable_, true)) LogWarning("{}", kept.status().message());
    return;
  }
  for (const LoadRow& row : kept->rows) plan->Record(row);
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

Status SelfProfile::SweepCells(Entry& entry, const ModelConfig& config, const Signature& signature,
                               const std::string& engine) {
  auto key = TableKeyOf(config, host_, options_.rung, engine);
  if (!key.ok()) return key.status();
  const auto stamp = ModelStamp(config);
  if (!stamp.ok()) return stamp.status();
  std::string inputs;
  auto pool = RowsFor(config, signature, &inputs);
  if (!pool.ok()) return pool.status();

  Gate gate(*this, entry);
  CellRunnerOptions options = CellsOf(config, options_.libexec, options_.cache);
  options.cpus = options_.worker_cpus;
  options.cancel_fd = cancel_.get();
  options.gate = &gate;
  options.background = true;
  ContainerCells cells(std::move(options), *runtime_);
  cells.Assume(signature);
  cells.SetRows(std::move(*pool));

  auto plan = PlanFor(config, signature, cells.LargestBatch());
  if (!plan.ok()) return plan.status();
  bool fresh = false;
  {
    const std::lock_guard lock(mutex_);
    entry.key = *key;
    entry.stamp = *stamp;
    entry.inputs = inputs;
    fresh = std::exchange(entry.fresh, false);
  }
  if (fresh) {
    const std::lock_guard lock(store_mutex_);
    if (const Status removed = store_->Remove(*key); !removed.ok())
      LogWarning("{}", removed.message());
  }
  return RunCells(entry, *plan, cells);
}

Result<SweepPlan> SelfProfile::PlanFor(const ModelConfig& config, const Signature& signature,
                                       int most) const {
  SweepPlan::Grid grid;
  auto shapes = ShapesToSweep(options_.shapes, options_.rung, host_);
  if (!shapes.ok()) return shapes.status();
  grid.shapes = std::move(*shapes);
  grid.batches = BatchesFor(signature, most);
  grid.precisions = PrecisionsToSweep(config, ThisMachine(host_));
  return SweepPlan(std::move(grid));
}

Status SelfProfile::RunCells(Entry& entry, SweepPlan& plan, CellRunner& cells) {
  const Time begin = clock_.Now();
  bool told = false;
  for (;;) {
    // Also what `evenkeel profile` has measured meanwhile.
    TakeKept(entry.key, entry.inputs, &plan);
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
    const auto row = cells.Run(*cell);
    if (!row.ok()) return row.status();
    plan.Record(*row);
    Keep(entry.key, entry.inputs, *row);
  }
  return Complete(entry, plan, told, Seconds(clock_.Now() - begin));
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

Status SelfProfile::Complete(Entry& entry, const SweepPlan& plan, bool swept, double seconds) {
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
  const std::lock_guard lock(mutex_);
  entry.rows = std::move(rows);
  entry.complete = true;
  entry.phase = Phase::kComplete;
  entry.why.clear();
  entry.advice = advice.value_or("");
  entry.redecide = true;
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
