#include "server/self_profile.h"

#include <sys/eventfd.h>
#include <sys/prctl.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <set>
#include <utility>

#include "core/format.h"
#include "core/log.h"
#include "core/parse.h"
#include "profiling/machine.h"
#include "profiling/model_digest.h"
#include "profiling/model_profile.h"
#include "server/self_profile_entry.h"

namespace evenkeel {
namespace {

namespace fs = std::filesystem;
using namespace std::chrono_literals;

constexpr Duration kLook = 1s;  // between two looks at the models

// The table's key names the rung that measured: `none` measures as `process` does.
Rung MeasuringRung(Rung rung) { return std::max(rung, Rung::kProcess); }

std::string LeftOutText(const std::vector<CellShape>& shapes) {
  std::string text;
  for (const CellShape& shape : shapes) text += (text.empty() ? "" : ", ") + ShapeText(shape);
  return text;
}

}  // namespace

std::string_view SelfProfile::NameOf(Phase phase) {
  switch (phase) {
    case Phase::kOff: return "off";
    case Phase::kWaiting: return "waiting";
    case Phase::kSweeping: return "sweeping";
    case Phase::kComplete: return "complete";
    case Phase::kFailed: return "failed";
  }
  return "off";
}

Result<std::unique_ptr<SelfProfile>> SelfProfile::Create(SelfProfileOptions options,
                                                         Sampler& sampler, const Clock& clock) {
  options.rung = MeasuringRung(options.rung);
  const HostSize host = HostFor(options.rung, options.worker_cpus);
  const auto shapes = ShapesOfClasses(options.shapes, options.rung, host, DeviceClass::kCpu);
  if (!shapes.ok() && options.shapes) return shapes.status().Annotate("profile_shapes");
  if (options.batches) {
    Signature any;
    any.batched = true;
    any.max_batch = 1 << 16;
    const auto batches = BatchesToSweep(options.batches, any, 1 << 16);
    if (!batches.ok()) return batches.status().Annotate("profile_batches");
  }
  return std::unique_ptr<SelfProfile>(new SelfProfile(std::move(options), sampler, clock));
}

SelfProfile::SelfProfile(SelfProfileOptions options, Sampler& sampler, const Clock& clock)
    : options_(std::move(options)),
      sampler_(sampler),
      clock_(clock),
      host_(HostFor(options_.rung, options_.worker_cpus)),
      machine_(ThisMachine(host_).fingerprint),
      pace_({.cores = std::max(1, options_.cores)}),
      cancel_(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)) {
  if (!options_.enabled) return;
  std::vector<std::string> warnings;
  store_ = LoadTableStore::Open(fmt::format("{}/{}", options_.state, kLoadTablesFile), &warnings);
  for (const std::string& line : warnings) LogWarning("{}", line);
}

SelfProfile::~SelfProfile() { Stop(); }

void SelfProfile::Begin(Models models) {
  if (!options_.enabled) {
    // A daemon that measured may have been killed: what it left is removed all the same.
    std::error_code error;
    if (options_.rung >= Rung::kCgroup && fs::exists(options_.state + "/self_profile", error))
      sweeper_ = std::thread([this] { MakeSweepRuntime(); });
    return;
  }
  models_ = std::move(models);
  sweeper_ = std::thread([this] {
    ::prctl(PR_SET_NAME, "ek-sweep");
    SweepLoop();
  });
  chooser_ = std::thread([this] {
    ::prctl(PR_SET_NAME, "ek-choices");
    ChoiceLoop();
  });
}

void SelfProfile::Stop() {
  {
    const std::lock_guard lock(mutex_);
    stopping_ = true;
    const uint64_t one = 1;
    if (::write(cancel_.get(), &one, sizeof one) < 0) LogDebug("the sweep was cancelled before");
  }
  changed_.notify_all();
  if (sweeper_.joinable()) sweeper_.join();
  if (chooser_.joinable()) chooser_.join();
  std::vector<std::shared_ptr<ProfiledModel>> let_go;
  const std::lock_guard lock(mutex_);
  let_go.swap(served_);
}

bool SelfProfile::WaitFor(Duration span) {
  std::unique_lock lock(mutex_);
  return !changed_.wait_for(lock, span, [this] { return stopping_; });
}

void SelfProfile::ChoiceLoop() {
  do {
    Look(clock_.Now());
    KeepChoices();
  } while (WaitFor(kLook));
  KeepChoices();
}

void SelfProfile::Look(Time now) {
  auto models = models_();
  Follow(models);
  std::vector<std::pair<EntryPtr, std::shared_ptr<ProfiledModel>>> complete;
  {
    const std::lock_guard lock(mutex_);
    served_ = models;
    for (const auto& model : models) {
      const EntryPtr& entry = entries_[model.get()];
      if (entry->complete) complete.emplace_back(entry, model);
    }
  }
  for (const auto& [entry, model] : complete) {
    LookForDrift(*entry, *model, now);
    LookForKills(*entry, *model);
    if (entry->device != DeviceClass::kGpu) Decide(entry, *model, DeviceClass::kCpu, now);
    if (entry->device != DeviceClass::kCpu) Decide(entry, *model, DeviceClass::kGpu, now);
    if (entry->device == DeviceClass::kAuto) Hold(*entry, *model, now);
  }
}

// Models come and go; an address may come again with another model behind it.
void SelfProfile::Follow(const std::vector<std::shared_ptr<ProfiledModel>>& models) {
  const std::lock_guard lock(mutex_);
  std::erase_if(entries_, [&](const auto& item) {
    const bool stays = std::ranges::any_of(models, [&](const auto& model) {
      return model.get() == item.first && item.second->model.lock() == model;
    });
    if (stays) return false;
    item.second->gone = true;
    if (item.second == sweeping_) {
      const uint64_t one = 1;
      if (::write(cancel_.get(), &one, sizeof one) < 0) LogDebug("the sweep was cancelled before");
    }
    return true;
  });
  for (const auto& model : models) {
    EntryPtr& entry = entries_[model.get()];
    if (entry != nullptr) continue;
    entry = std::make_shared<Entry>();
    entry->model = model;
    entry->label = fmt::format("{}/{}", model->config().name, model->config().version);
    entry->device = model->device_class();
    entry->cpu.drift = entry->gpu.drift = DriftDetector(options_.drift);
    if (!model->config().profile) {
      entry->phase = Phase::kOff;
      entry->why = "the manifest says 'profile: off'";
    }
    const auto chosen = started_with_.find(entry->label);
    if (chosen == started_with_.end()) continue;
    for (const StoredChoice& choice : chosen->second) {
      Side& side = choice.cell.shape.gpu() ? entry->gpu : entry->cpu;
      side.current = choice.cell;
      side.adopted_why = choice.why;
      for (const TimedSize& size : choice.times) {
        if (&side == &entry->main() && size.rows == choice.cell.batch)
          model->SetBestBatch(size.rows, size.mean);
      }
    }
  }
  changed_.notify_all();
}

void SelfProfile::LookForDrift(Entry& entry, const ProfiledModel& model, Time now) {
  const auto live = model.LiveTimes(DeviceClass::kCpu);
  const auto on_device = model.LiveTimes(DeviceClass::kGpu);
  const bool shared = model.SharesCores();
  const std::lock_guard lock(mutex_);
  const bool measuring = entry.phase == Phase::kSweeping;
  const Side* drifted = nullptr;
  for (Side* side : {&entry.cpu, &entry.gpu}) {
    const auto& times = side == &entry.gpu ? on_device : live;
    if (side->drift.Observe(times, shared || measuring || side->adopting, now)) drifted = side;
  }
  if (drifted == nullptr) return;
  if (measuring || now - entry.measured < kLeastBetween * options_.drift) return;
  LogInfo("model '{}': batches take {:.2f} times what its table says: it is measured again",
          entry.label, drifted->drift.ratio());
  entry.phase = Phase::kWaiting;
  entry.fresh = true;
  entry.try_at = now;
  changed_.notify_all();
}

// A shape that measuring fitted into may be too small for what serving warms beside.
void SelfProfile::LookForKills(Entry& entry, const ProfiledModel& model) {
  const auto too_little = model.OutOfMemoryAt();
  if (!too_little) return;
  const std::lock_guard lock(mutex_);
  if (*too_little < entry.least_memory || entry.cpu.adopting) return;
  LogWarning("model '{}': an instance needed more than {}: shapes with more are chosen from now on",
             entry.label, FormatBytes(*too_little));
  entry.least_memory = *too_little + 1;
  entry.cpu.restarted = {};
  entry.cpu.redecide = true;
}

// The disk is not touched under the mutex that views are taken under.
void SelfProfile::KeepChoices() {
  std::vector<StoredChoice> choices;
  {
    const std::lock_guard lock(mutex_);
    for (const auto& [model, entry] : entries_) {
      for (Side* side : {&entry->cpu, &entry->gpu}) {
        if (!std::exchange(side->to_keep, false)) continue;
        StoredChoice choice{entry->key, entry->stamp, *side->current,
                            TimesOn(entry->rows, *side->current), side->adopted_why};
        auto& known = started_with_[entry->label];
        std::erase_if(known, [&](const StoredChoice& one) {
          return one.cell.shape.gpu() == choice.cell.shape.gpu();
        });
        if (choice.cell.shape.gpu()) choice.key.setup.insert(0, kShareOf);
        known.push_back(choice);
        choices.push_back(std::move(choice));
      }
    }
  }
  const std::lock_guard lock(store_mutex_);
  for (const StoredChoice& choice : choices) {
    const Status kept = store_->PutChoice(choice);
    if (!kept.ok() && !std::exchange(told_unwritable_, true)) LogWarning("{}", kept.message());
  }
}

SelfProfile::View SelfProfile::ViewOf(const ProfiledModel& model, bool details) const {
  View view;
  view.on_disk = store_ != nullptr && store_->on_disk();
  if (!options_.enabled) {
    view.why = "the server runs with 'profiling: off'";
    return view;
  }
  const std::lock_guard lock(mutex_);
  const auto at = entries_.find(&model);
  view.phase = Phase::kWaiting;
  if (at == entries_.end()) return view;
  const Entry& entry = *at->second;
  view.phase = entry.phase;
  view.why = entry.why.empty() && entry.phase == Phase::kWaiting ? runtime_failure_ : entry.why;
  if (entry.phase == Phase::kSweeping) view.paused = paused_;
  view.cells_run = entry.cells_run;
  view.cells_expected = entry.cells_expected;
  view.cells = entry.cells;
  view.inputs = entry.inputs;
  if (details) view.table = entry.rows;
  view.left_out = LeftOutText(entry.left_out);
  const Time now = clock_.Now();
  view.chosen = ChosenOf(entry.main(), details, now);
  if (entry.device == DeviceClass::kAuto) {
    view.on_device = ChosenOf(entry.gpu, details, now);
    view.held = entry.holding.held();
  }
  view.advice = entry.advice;
  view.times_measured = entry.times_measured;
  return view;
}

SelfProfile::View::Chosen SelfProfile::ChosenOf(const Side& side, bool details, Time now) {
  View::Chosen chosen;
  if (details) chosen.decision = side.decision;
  chosen.adopted = side.current;
  chosen.adopted_why = side.adopted_why;
  chosen.adoption_failure = side.adoption_failure;
  chosen.drift_ratio = side.drift.ratio();
  chosen.away_for = side.drift.away_for(now);
  return chosen;
}

double SelfProfile::core_seconds() const {
  const std::lock_guard lock(mutex_);
  return core_s_;
}

}  // namespace evenkeel
