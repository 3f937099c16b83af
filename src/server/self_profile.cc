#include "server/self_profile.h"

#include <sys/eventfd.h>
#include <sys/prctl.h>
#include <unistd.h>

#include <algorithm>
#include <cmath>
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

constexpr Duration kLook = 1s;          // between two looks at the models
constexpr Duration kDecideEvery = 10s;  // at most, while the forecast moves
constexpr double kForecastMoved = 0.25;
// Starting instances costs core time, and a forecast that rises and falls must not have them start again and again.
constexpr Duration kSettle = 60s;
constexpr double kLeastRate = 0.1;  // rows a second: below, nothing is asked

bool Moved(double before, double now) {
  if (before < kLeastRate || now < kLeastRate) return (before < kLeastRate) != (now < kLeastRate);
  return std::abs(now - before) > kForecastMoved * before;
}

bool SameWorkers(const InstanceForm& a, const InstanceForm& b) {
  return a.shape == b.shape && a.threads == b.threads && a.precision == b.precision;
}

// The table's key names the rung that measured: `none` measures as `process` does.
Rung MeasuringRung(Rung rung) { return std::max(rung, Rung::kProcess); }

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
  const auto shapes = ShapesToSweep(options.shapes, options.rung, host);
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

std::optional<InstanceForm> SelfProfile::StartForm(const ModelConfig& model) {
  const std::string label = fmt::format("{}/{}", model.name, model.version);
  {
    const std::lock_guard lock(mutex_);
    started_with_.erase(label);
  }
  if (!options_.enabled || !model.profile) return std::nullopt;
  const auto stamp = ModelStamp(model);
  if (!stamp.ok()) return std::nullopt;
  Result<std::optional<StoredChoice>> found = std::optional<StoredChoice>();
  {
    const std::lock_guard lock(store_mutex_);
    found = store_->FindChoice(model.name, *stamp, machine_,
                               fmt::format("{} CPU ", evenkeel::NameOf(options_.rung)));
  }
  if (!found.ok()) LogWarning("model '{}': {}", model.name, found.status().message());
  if (!found.ok() || !found->has_value()) return std::nullopt;
  StoredChoice choice = std::move(**found);
  // The manifest may have changed since.
  const int threads = model.threads > 0 ? model.threads : options_.fixed_threads;
  const bool bf16 = choice.cell.precision == Precision::kBf16;
  const bool allowed = model.precision_auto || bf16 == (model.precision == Precision::kBf16);
  if ((threads > 0 && ToWorkerShape(choice.cell.shape).threads() != threads) || !allowed)
    return std::nullopt;
  InstanceForm form = FormOf(choice.cell, choice.times, choice.why);
  LogInfo("model '{}': starts on {}{}, as chosen earlier", model.name, ShapeText(choice.cell.shape),
          bf16 ? " in bf16" : "");
  const std::lock_guard lock(mutex_);
  started_with_[label] = std::move(choice);
  return form;
}

void SelfProfile::ForgetForm(const ModelConfig& model) {
  {
    const std::lock_guard lock(mutex_);
    started_with_.erase(fmt::format("{}/{}", model.name, model.version));
  }
  const auto stamp = ModelStamp(model);
  if (!stamp.ok() || store_ == nullptr) return;
  const std::lock_guard lock(store_mutex_);
  const Status removed = store_->RemoveChoices(model.name, *stamp);
  if (!removed.ok()) LogWarning("model '{}': {}", model.name, removed.message());
}

// Rungs that hold no limits give none; the engine's threads follow the shape all the same.
InstanceForm SelfProfile::FormOf(const Cell& cell, const std::vector<TimedSize>& times,
                                 const std::string& why) const {
  InstanceForm form;
  const WorkerShape shape = ToWorkerShape(cell.shape);
  form.threads = shape.threads();
  form.precision = cell.precision;
  for (const TimedSize& size : times) form.times.push_back({size.rows, size.mean, size.p99});
  form.why = why;
  if (options_.rung < Rung::kCgroup) return form;
  form.shape = shape;
  if (!times.empty()) form.max_rows = times.back().rows;
  return form;
}

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
    Decide(entry, *model, now);
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
    entry->drift = DriftDetector(options_.drift);
    if (!model->config().profile) {
      entry->phase = Phase::kOff;
      entry->why = "the manifest says 'profile: off'";
    } else if (model->config().device == DeviceClass::kGpu) {
      entry->phase = Phase::kOff;
      entry->why = "of class gpu";
    }
    if (const auto chosen = started_with_.find(entry->label); chosen != started_with_.end()) {
      entry->current = chosen->second.cell;
      entry->adopted_why = chosen->second.why;
      for (const TimedSize& size : chosen->second.times) {
        if (size.rows == entry->current->batch) model->SetBestBatch(size.rows, size.mean);
      }
    }
  }
  changed_.notify_all();
}

void SelfProfile::LookForDrift(Entry& entry, const ProfiledModel& model, Time now) {
  const auto live = model.LiveTimes();
  const bool shared = model.SharesCores();
  const std::lock_guard lock(mutex_);
  const bool measuring = entry.phase == Phase::kSweeping;
  if (!entry.drift.Observe(live, shared || measuring || entry.adopting, now)) return;
  if (measuring || now - entry.measured < kLeastBetween * options_.drift) return;
  LogInfo("model '{}': batches take {:.2f} times what its table says: it is measured again",
          entry.label, entry.drift.ratio());
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
  if (*too_little < entry.least_memory || entry.adopting) return;
  LogWarning("model '{}': an instance needed more than {}: shapes with more are chosen from now on",
             entry.label, FormatBytes(*too_little));
  entry.least_memory = *too_little + 1;
  entry.restarted = {};
  entry.redecide = true;
}

void SelfProfile::Decide(const EntryPtr& entry, ProfiledModel& model, Time now) {
  FormQuery query;
  query.by_method = options_.by_method;
  query.ratio_threshold = options_.ratio_threshold;
  query.objective = model.objective();
  query.host = host_;
  const ModelConfig& config = model.config();
  query.fixed_threads = config.threads > 0 ? config.threads : options_.fixed_threads;
  const double rate = model.RowsPerSecond(now);
  query.rate_per_s = rate < kLeastRate ? 0 : rate;
  LoadRows rows;
  {
    const std::lock_guard lock(mutex_);
    const bool due =
        now - entry->decided >= kDecideEvery &&
        (Moved(entry->decided_rate, rate) || entry->decided_objective != query.objective);
    const bool again = entry->adopt_again != Time{} && now >= entry->adopt_again;
    if (entry->adopting || !(entry->redecide || !entry->decision || due || again)) return;
    query.current = entry->current;
    query.least_memory = entry->least_memory;
    rows = entry->rows;
  }
  FormDecision decision = DecideForm(config, rows, query);
  {
    const std::lock_guard lock(mutex_);
    entry->redecide = false;
    entry->decided = now;
    entry->decided_rate = rate;
    entry->decided_objective = query.objective;
    entry->decision = std::move(decision);
  }
  Adopt(entry, model, now);
}

void SelfProfile::Adopt(const EntryPtr& entry, ProfiledModel& model, Time now) {
  InstanceForm form;
  Cell cell;
  bool restart = false;
  {
    const std::lock_guard lock(mutex_);
    const FormDecision& decision = *entry->decision;
    if (now >= entry->adopt_again) entry->adopt_again = {};
    // A failure counts as long as what failed is wanted.
    if (!decision.cell || !decision.adoption.change) return entry->adoption_failure.clear();
    if (entry->adopt_again != Time{}) return;
    cell = *decision.cell;
    form = FormOf(cell, TimesOn(decision.rows, cell),
                  fmt::format("{}{}, batch {}: {}", ShapeText(cell.shape),
                              cell.precision == Precision::kBf16 ? " in bf16" : "", cell.batch,
                              decision.choice.why));
    // Another batch size on the same shape needs no other workers; nor does another shape where nothing holds them to it.
    restart = !entry->current || !SameWorkers(FormOf(*entry->current, {}, {}), form);
    if (restart && entry->current && now - entry->restarted < kSettle) {
      entry->redecide = true;
      return;
    }
    entry->adopting = restart;
    if (restart) entry->restarted = now;
    LogInfo("model '{}': {} (rule {}, {}): {}", entry->label, form.why, decision.rule,
            decision.asked, decision.adoption.why);
  }
  const auto adopted = [this, entry, cell, why = form.why](const Status& status) {
    const std::lock_guard lock(mutex_);
    entry->adopting = false;
    if (!status.ok()) {
      entry->adoption_failure = status.message();
      entry->adopt_again = clock_.Now() + kRetry;
      LogWarning("model '{}': it stays as it was: {}", entry->label, status.message());
      return;
    }
    entry->current = cell;
    entry->adopted_why = why;
    entry->adoption_failure.clear();
    entry->to_keep = true;
    ExpectTimes(*entry);
  };
  for (const auto& timed : form.times) {
    if (timed.rows == cell.batch) model.SetBestBatch(timed.rows, timed.mean);
  }
  if (!restart) return adopted(Status::Ok());
  model.AdoptForm(std::move(form), adopted);
}

void SelfProfile::ExpectTimes(Entry& entry) {
  if (!entry.current) return;
  entry.drift.Expect(TimesOn(entry.rows, *entry.current),
                     entry.current->shape.milli_cores % 1000 != 0);
}

// The disk is not touched under the mutex that views are taken under.
void SelfProfile::KeepChoices() {
  std::vector<StoredChoice> choices;
  {
    const std::lock_guard lock(mutex_);
    for (const auto& [model, entry] : entries_) {
      if (!std::exchange(entry->to_keep, false)) continue;
      choices.push_back({entry->key, entry->stamp, *entry->current,
                         TimesOn(entry->rows, *entry->current), entry->adopted_why});
      started_with_[entry->label] = choices.back();
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
  if (details) {
    view.table = entry.rows;
    view.decision = entry.decision;
  }
  view.adopted = entry.current;
  view.adopted_why = entry.adopted_why;
  view.adoption_failure = entry.adoption_failure;
  view.advice = entry.advice;
  view.drift_ratio = entry.drift.ratio();
  view.away_for = entry.drift.away_for(clock_.Now());
  view.times_measured = entry.times_measured;
  return view;
}

double SelfProfile::core_seconds() const {
  const std::lock_guard lock(mutex_);
  return core_s_;
}

}  // namespace evenkeel
