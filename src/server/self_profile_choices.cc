// What a model's table says it is to run on: kept choices at its start, and the choosing while it serves.
#include <algorithm>
#include <cmath>
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
  return a.device == b.device && a.device_share == b.device_share && a.shape == b.shape &&
         a.threads == b.threads && a.precision == b.precision;
}

const char* InBf16(const Cell& cell) {
  return cell.precision == Precision::kBf16 ? " in bf16" : "";
}

}  // namespace

// Of the table's key, up to what the engine says of itself.
std::string SelfProfile::SetupOf(DeviceClass may_run, DeviceClass chosen) const {
  std::string device = "CPU";
  if (may_run != DeviceClass::kCpu && options_.accelerators != nullptr) {
    if (const auto first = options_.accelerators->first())
      device = TableDevice(options_.accelerators->emulated(), first->engine_device);
  }
  return fmt::format("{}{} {} ", chosen == DeviceClass::kGpu ? kShareOf : "",
                     evenkeel::NameOf(options_.rung), device);
}

// The manifest may have changed since it was chosen.
bool SelfProfile::Allowed(const ModelConfig& model, const Cell& cell) const {
  const bool bf16 = cell.precision == Precision::kBf16;
  if (!model.precision_auto && bf16 != (model.precision == Precision::kBf16)) return false;
  if (cell.shape.gpu())
    return model.gpu_shape.cores == 0 || model.gpu_shape == DeviceShareOf(cell.shape);
  const int threads = model.threads > 0 ? model.threads : options_.fixed_threads;
  return threads == 0 || ToWorkerShape(cell.shape).threads() == threads;
}

std::optional<StoredChoice> SelfProfile::FindChoice(const ModelConfig& model,
                                                    const std::string& stamp, DeviceClass device) {
  const DeviceClass may_run = ClassToServe(model, options_.accelerators, options_.by_method);
  if (may_run != DeviceClass::kAuto && may_run != device) return std::nullopt;
  const std::lock_guard lock(store_mutex_);
  auto found = store_->FindChoice(model.name, stamp, machine_, SetupOf(may_run, device));
  if (!found.ok()) LogWarning("model '{}': {}", model.name, found.status().message());
  if (!found.ok() || !found->has_value() || !Allowed(model, (*found)->cell)) return std::nullopt;
  return std::move(*found);
}

std::vector<InstanceForm> SelfProfile::StartForms(const ModelConfig& model) {
  const std::string label = fmt::format("{}/{}", model.name, model.version);
  {
    const std::lock_guard lock(mutex_);
    started_with_.erase(label);
  }
  if (!options_.enabled || !model.profile) return {};
  const auto stamp = ModelStamp(model);
  if (!stamp.ok()) return {};
  std::vector<InstanceForm> forms;
  for (const DeviceClass device : {DeviceClass::kCpu, DeviceClass::kGpu}) {
    auto choice = FindChoice(model, *stamp, device);
    if (!choice) continue;
    forms.push_back(FormOf(choice->cell, choice->times, choice->why));
    LogInfo("model '{}': starts on {}{}, as chosen earlier", model.name,
            ShapeText(choice->cell.shape), InBf16(choice->cell));
    const std::lock_guard lock(mutex_);
    started_with_[label].push_back(std::move(*choice));
  }
  return forms;
}

void SelfProfile::ForgetForms(const ModelConfig& model) {
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
  if (cell.shape.gpu()) {
    form.device = DeviceClass::kGpu;
    form.device_share = DeviceShareOf(cell.shape);
    const bool emulated = options_.accelerators != nullptr && options_.accelerators->emulated();
    form.host_cores = emulated ? options_.accelerators->emulated()->host_cores : 0;
    if (!times.empty()) form.max_rows = times.back().rows;
    return form;
  }
  if (options_.rung < Rung::kCgroup) return form;
  form.shape = shape;
  if (!times.empty()) form.max_rows = times.back().rows;
  return form;
}

FormQuery SelfProfile::QueryOf(const ProfiledModel& model, DeviceClass device, Time now) const {
  const ModelConfig& config = model.config();
  FormQuery query;
  query.device = device;
  query.by_method = options_.by_method;
  query.ratio_threshold = options_.ratio_threshold;
  query.objective = model.objective();
  query.fixed_threads = config.threads > 0 ? config.threads : options_.fixed_threads;
  const double rate = model.RowsPerSecond(now);
  query.rate_per_s = rate < kLeastRate ? 0 : rate;
  if (device == DeviceClass::kGpu) {
    query.held = model.HeldShare();
    query.room = options_.accelerators->Room();
    query.instances = model.device_class() == DeviceClass::kAuto ? config.gpu_instances
                                                                 : std::max(1, config.instances);
  }
  return query;
}

void SelfProfile::Decide(const EntryPtr& entry, ProfiledModel& model, DeviceClass device,
                         Time now) {
  FormQuery query = QueryOf(model, device, now);
  LoadRows rows;
  bool adopting = false;
  {
    const std::lock_guard lock(mutex_);
    const Side& side = entry->of(device);
    const bool due = now - side.decided >= kDecideEvery &&
                     (Moved(side.decided_rate, query.rate_per_s) ||
                      side.decided_objective != query.objective || side.decided_room != query.room);
    const bool again = side.adopt_again != Time{} && now >= side.adopt_again;
    if (!(side.redecide || !side.decision || due || again)) return;
    // What is adopted at rest is so with the next start: until then the choice is kept up to date, and weighed after.
    adopting = side.adopting;
    if (adopting && now - side.decided < kDecideEvery) return;
    query.current = side.current;
    query.least_memory = entry->least_memory;
    query.host = entry->host;
    query.sampled = entry->rows_sampled;
    rows = entry->rows;
  }
  FormDecision decision = DecideForm(model.config(), rows, query);
  {
    const std::lock_guard lock(mutex_);
    Side& side = entry->of(device);
    side.redecide = adopting;
    side.decided = now;
    side.decided_rate = query.rate_per_s;
    side.decided_objective = query.objective;
    side.decided_room = query.room;
    side.decision = std::move(decision);
  }
  if (!adopting) Adopt(entry, model, device, now);
}

void SelfProfile::Adopt(const EntryPtr& entry, ProfiledModel& model, DeviceClass device, Time now) {
  InstanceForm form;
  Cell cell;
  bool restart = false;
  const DeviceSize held = model.HeldShare();
  {
    const std::lock_guard lock(mutex_);
    Side& side = entry->of(device);
    const FormDecision& decision = *side.decision;
    if (now >= side.adopt_again) side.adopt_again = {};
    // A failure counts as long as what failed is wanted.
    if (!decision.cell || !decision.adoption.change) return side.adoption_failure.clear();
    if (side.adopt_again != Time{}) return;
    cell = *decision.cell;
    form = FormOf(cell, TimesOn(decision.rows, cell),
                  fmt::format("{}{}, batch {}: {}", ShapeText(cell.shape), InBf16(cell), cell.batch,
                              decision.choice.why));
    // Another batch size on the same shape needs no other workers; nor does another shape where nothing holds them to it, or the share
    // of an accelerator that they were given before there was a table.
    const bool given = device == DeviceClass::kGpu && !side.current &&
                       cell.precision == model.config().precision &&
                       (model.config().gpu_shape.cores > 0 || held == DeviceShareOf(cell.shape));
    restart = !given && (!side.current || !SameWorkers(FormOf(*side.current, {}, {}), form));
    if (restart && side.current && now - side.restarted < kSettle) {
      side.redecide = true;
      return;
    }
    side.adopting = restart;
    if (restart) side.restarted = now;
    LogInfo("model '{}': {} (rule {}, {}): {}", entry->label, form.why, decision.rule,
            decision.asked, decision.adoption.why);
  }
  const auto adopted = [this, entry, cell, device, why = form.why](const Status& status) {
    const std::lock_guard lock(mutex_);
    Side& side = entry->of(device);
    side.adopting = false;
    if (!status.ok()) {
      side.adoption_failure = status.message();
      side.adopt_again = clock_.Now() + kRetry;
      LogWarning("model '{}': it stays as it was: {}", entry->label, status.message());
      return;
    }
    side.current = cell;
    side.adopted_why = why;
    side.adoption_failure.clear();
    side.to_keep = true;
    ExpectTimes(*entry);
  };
  const bool main = model.device_class() != DeviceClass::kAuto || device == DeviceClass::kCpu;
  for (const auto& timed : form.times) {
    if (main && timed.rows == cell.batch) model.SetBestBatch(timed.rows, timed.mean);
  }
  if (!restart) return adopted(Status::Ok());
  model.AdoptForm(std::move(form), adopted);
}

// Each second: instances of the class that takes the overflow are to be there soon.
void SelfProfile::Hold(Entry& entry, ProfiledModel& model, Time now) {
  const FormQuery form = QueryOf(model, DeviceClass::kGpu, now);
  ClassQuery query;
  HeldClasses held;
  {
    const std::lock_guard lock(mutex_);
    if (!entry.cpu.decision || !entry.gpu.decision) return;
    for (const Side* side : {&entry.cpu, &entry.gpu}) {
      const LoadRows& rows = side->decision->rows;
      query.rows.insert(query.rows.end(), rows.begin(), rows.end());
    }
    query.objective.objective_us = Seconds(form.objective) * 1e6;
    query.objective.rate_per_s = form.rate_per_s;
    query.objective.host = entry.host;
    query.objective.precision = entry.cpu.decision->precision.precision;
    query.gpu_instances = form.instances;
    held = entry.holding.Decide(query, now);
    const bool both = held.cpu && held.gpu;
    if (both == entry.held_both && (both || held.cpu == entry.held_cpu)) return;
    entry.held_both = both;
    entry.held_cpu = held.cpu;
  }
  LogInfo("model '{}': holds instances on {} from now on: {}", entry.label,
          held.cpu && held.gpu ? "both classes"
          : held.cpu           ? "the processor"
                               : "the accelerator",
          held.why);
  model.HoldClasses(held.cpu, held.gpu);
}

void SelfProfile::ExpectTimes(Entry& entry) {
  for (Side* side : {&entry.cpu, &entry.gpu}) {
    if (!side->current) continue;
    side->drift.Expect(TimesOn(entry.rows, *side->current),
                       side->current->shape.milli_cores % 1000 != 0);
  }
}

}  // namespace evenkeel
