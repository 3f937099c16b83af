#include "server/instance_set.h"

#include <algorithm>
#include <utility>

#include "containers/exit_text.h"
#include "core/check.h"
#include "core/format.h"
#include "core/log.h"

namespace evenkeel {

struct InstanceSet::Slot {
  enum class State : uint8_t { kStarting, kReady, kEnding, kWaiting };

  int id = 0;
  uint64_t serial = 0;  // never used again, as ids are
  std::shared_ptr<const InstanceForm> form;
  State state = State::kStarting;
  std::unique_ptr<InstanceWorker> worker;
  InstanceDevice device;  // of the last one
  std::unique_ptr<Alarm> restart;
  RestartPolicy policy;
  bool attached = false;
  uint64_t answers_before = 0;  // of the model, when this worker came up
  Time started{}, ready_since{};
  Status load_failure;
  uint64_t restarts = 0;
  std::string last_end;
};

namespace {

const char* const kStateNames[] = {"starting", "ready", "ending", "waiting to restart"};

}  // namespace

InstanceSet::InstanceSet(Owner& owner, std::string model, EventLoop& loop, const Clock& clock,
                         int first_id)
    : owner_(owner), model_(std::move(model)), first_id_(first_id), loop_(loop), clock_(clock) {}

InstanceSet::~InstanceSet() = default;

void InstanceSet::Start(std::shared_ptr<const InstanceForm> form) {
  EK_CHECK(slots_.empty() && !ended_);
  form_ = std::move(form);
  wanted_ = 1;
  AddSlot(form_);
}

void InstanceSet::AddSlot(const std::shared_ptr<const InstanceForm>& form) {
  auto slot = std::make_unique<Slot>();
  slot->id = first_id_;
  while (Find(slot->id) != nullptr) ++slot->id;
  slot->serial = next_serial_++;
  slot->form = form;
  slot->restart = loop_.MakeAlarm([this, s = slot.get()] { StartWorker(*s); });
  slots_.push_back(std::move(slot));
  StartWorker(*slots_.back());
}

void InstanceSet::StartWorker(Slot& slot) {
  if (ended_ || slot.worker != nullptr) return;
  slot.state = Slot::State::kStarting;
  slot.load_failure = Status::Ok();
  slot.started = clock_.Now();
  WorkerEvents events;
  events.loaded = [this, &slot](LoadedModel loaded) { OnLoaded(slot, std::move(loaded)); };
  // After End() a worker may still tell of events for a turn: the slot has let go of it then.
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
  starts_.fetch_add(1, std::memory_order_relaxed);
  auto worker = owner_.StartWorker(slot.id, *slot.form, std::move(events));
  if (worker.ok()) {
    slot.worker = std::move(*worker);
    return Publish();
  }
  slot.state = Slot::State::kWaiting;
  InstanceTrouble trouble;
  trouble.kind = InstanceTrouble::Kind::kNotStarted;
  trouble.why = worker.status();
  trouble.pause = RestartPolicy::kLongestPause;
  Trouble(slot, std::move(trouble));
}

void InstanceSet::OnLoaded(Slot& slot, LoadedModel loaded) {
  if (ended_ || slot.state == Slot::State::kEnding) return;
  Dispatcher* const dispatcher = owner_.OnLoaded(std::move(loaded));
  if (dispatcher == nullptr) return;
  dispatcher_ = dispatcher;
  slot.attached = true;
  dispatcher_->Attach(slot.id, slot.worker->channel(), slot.form->busy_threads(),
                      slot.form->max_rows, slot.form->device);
}

void InstanceSet::OnWarm(int id) {
  Slot* const slot = Find(id);
  if (ended_ || slot == nullptr || slot->state != Slot::State::kStarting) return;
  proven_ = true;
  slot->state = Slot::State::kReady;
  slot->answers_before = dispatcher_->Stats().success.count;
  slot->ready_since = clock_.Now();
  if (slot->form == form_) {
    const Duration took = slot->ready_since - slot->started;
    start_up_ = start_up_ == Duration::zero() ? took : (start_up_ + took) / 2;
    if (std::exchange(unseen_, false)) dispatcher_->Seed(form_->times, form_->device);
  }
  Publish();
  owner_.OnReady(id);
  Balance();
  owner_.OnChange();
}

void InstanceSet::OnHang(int id) {
  Slot* const slot = Find(id);
  if (slot == nullptr) return;
  LogWarning("model '{}': instance {} takes too long over a batch and is ended", model_, id);
  if (slot->worker) slot->worker->Kill("hung");
}

void InstanceSet::OnEnded(Slot& slot, const std::string& how) {
  const bool was_ready = slot.state == Slot::State::kReady;
  const bool was_ending = slot.state == Slot::State::kEnding;
  if (std::exchange(slot.attached, false)) dispatcher_->Detach(slot.id);
  // The worker is calling us: it is let go of once its event is over.
  loop_.Post([keep = std::shared_ptr<InstanceWorker>(std::move(slot.worker))] {});
  if (was_ending) {
    Erase(slot);
    Balance();
    return owner_.OnChange();
  }
  slot.state = Slot::State::kWaiting;
  slot.last_end = how;
  ++slot.restarts;
  restarts_.fetch_add(1, std::memory_order_relaxed);
  if (SaysOutOfMemory(how)) out_of_memory_.fetch_add(1, std::memory_order_relaxed);
  if (ended_) return;
  InstanceTrouble trouble;
  trouble.how = how;
  if (!slot.load_failure.ok()) {
    trouble.kind = InstanceTrouble::Kind::kRefused;
    trouble.why = slot.load_failure;
  }
  // Time spent loading does no good: a worker that dies after a long load must not look useful.
  const Duration life = was_ready ? clock_.Now() - slot.ready_since : Duration::zero();
  const uint64_t answers = was_ready ? dispatcher_->Stats().success.count - slot.answers_before : 0;
  trouble.pause = slot.policy.OnEnd(life, answers);
  trouble.useless_ends = slot.policy.useless_ends();
  LogWarning("model '{}': worker of instance {} ended ({}), restart in {:.1f} s", model_, slot.id,
             how, Seconds(trouble.pause));
  Trouble(slot, std::move(trouble));
}

void InstanceSet::Trouble(Slot& slot, InstanceTrouble trouble) {
  trouble.id = slot.id;
  Publish();
  // Before the owner is told, which may end the set: then the alarm goes too.
  slot.restart->Set(clock_.Now() + trouble.pause);
  if (slot.form == form_ && GiveUpForm(trouble)) return;
  owner_.OnTrouble(trouble);
}

// The old form is current again if the new one can't be had, or not as often as is wanted: those of it that serve stay until their successors do.
bool InstanceSet::GiveUpForm(const InstanceTrouble& trouble) {
  const bool hopeless = trouble.kind != InstanceTrouble::Kind::kEnded ||
                        trouble.useless_ends >= RestartPolicy::kLoadAttempts;
  if (old_form_ == nullptr || !proven_ || !hopeless) return false;
  const Status why = trouble.why.ok()
                         ? Unavailable("its workers end while loading: {}", trouble.how)
                         : trouble.why;
  LogWarning("model '{}': instances of {} can't be had ({}); it stays with {}", model_,
             form_->Name(), why.message(), old_form_->Name());
  const auto given_up = std::exchange(form_, std::exchange(old_form_, nullptr));
  std::vector<Slot*> slots;
  for (const auto& slot : slots_) {
    const bool useful = slot->state == Slot::State::kReady || slot->state == Slot::State::kEnding;
    if (slot->form == given_up && !useful) slots.push_back(slot.get());
  }
  for (Slot* const slot : slots) Remove(*slot);
  unseen_ = false;
  start_up_ = {};
  dispatcher_->Seed(form_->times, form_->device);
  TellAdopted(why);
  Balance();
  owner_.OnChange();
  return true;
}

void InstanceSet::SetWanted(int wanted) {
  wanted = std::max(0, wanted);
  if (ended_ || wanted_ == wanted) return;
  wanted_ = wanted;
  Balance();
}

void InstanceSet::Adopt(std::shared_ptr<const InstanceForm> form,
                        std::function<void(Status)> done) {
  EK_CHECK(form != nullptr);
  if (ended_) {
    if (done) done(Unavailable("model '{}' is being unloaded", model_));
    return;
  }
  if (auto former = std::exchange(adopted_, nullptr)) {
    former(Unavailable("model '{}': another form was adopted meanwhile", model_));
  }
  adopted_ = std::move(done);
  // Of three forms the one that served is worth going back to.
  if (old_form_ == nullptr) old_form_ = form_;
  form_ = std::move(form);
  unseen_ = true;
  start_up_ = {};
  if (slots_.empty() && dispatcher_ != nullptr) dispatcher_->Seed(form_->times, form_->device);
  Balance();
}

void InstanceSet::Balance() {
  if (ended_ || form_ == nullptr) return;
  EndSurplus();
  if (!proven_) {
    if (wanted_ > 0 && count() == 0) AddSlot(form_);
    return;
  }
  ReplaceOld();
  const bool replacing = Count(/*of_current_form=*/false) > 0;
  const auto is_coming = [this](const auto& slot) {
    return slot->form == form_ &&
           (slot->state == Slot::State::kStarting || slot->state == Slot::State::kWaiting);
  };
  while (!ended_ && Count(/*of_current_form=*/true) < wanted_) {
    // One by one: what serves stays until its successor does, and memory holds both.
    if (replacing && std::ranges::any_of(slots_, is_coming)) break;
    AddSlot(form_);
  }
  if (replacing || unseen_) return;
  old_form_ = nullptr;
  TellAdopted(Status::Ok());
}

void InstanceSet::EndSurplus() {
  while (Count(/*of_current_form=*/true) > wanted_) Remove(*LeastUseful(/*of_current_form=*/true));
}

// An old one goes for each new one that is ready; and those that are not up, once one is.
void InstanceSet::ReplaceOld() {
  const auto ready = std::ranges::count_if(slots_, [this](const auto& slot) {
    return slot->form == form_ && slot->state == Slot::State::kReady;
  });
  const int keep = wanted_ - static_cast<int>(ready);
  while (Count(/*of_current_form=*/false) > std::max(0, keep))
    Remove(*LeastUseful(/*of_current_form=*/false));
}

void InstanceSet::TellAdopted(const Status& status) {
  if (auto done = std::exchange(adopted_, nullptr)) done(status);
}

void InstanceSet::Remove(Slot& slot) {
  slot.restart->Set(kNever);
  if (slot.worker == nullptr) return Erase(slot);
  slot.state = Slot::State::kEnding;
  Publish();
  if (!slot.attached) return slot.worker->Kill("is not needed any more");
  dispatcher_->Retire(slot.id, [this, serial = slot.serial] { OnRetired(serial); });
}

void InstanceSet::OnRetired(uint64_t serial) {
  const auto at =
      std::ranges::find_if(slots_, [serial](const auto& slot) { return slot->serial == serial; });
  // It may have ended by itself meanwhile.
  if (ended_ || at == slots_.end() || (*at)->worker == nullptr) return;
  Slot& slot = **at;
  if (std::exchange(slot.attached, false)) dispatcher_->Detach(slot.id);
  slot.worker->Kill("is not needed any more");
}

void InstanceSet::Erase(const Slot& slot) {
  const auto at = std::ranges::find_if(slots_, [&](const auto& one) { return one.get() == &slot; });
  // Its alarm or its worker may be what is calling.
  loop_.Post([keep = std::shared_ptr<Slot>(std::move(*at))] {});
  slots_.erase(at);
  Publish();
}

InstanceSet::Slot* InstanceSet::Find(int id) const {
  const auto at = std::ranges::find_if(slots_, [id](const auto& slot) { return slot->id == id; });
  return at == slots_.end() ? nullptr : at->get();
}

// Those that are not up first, of equals the youngest.
InstanceSet::Slot* InstanceSet::LeastUseful(bool of_current_form) const {
  const auto use = [](const Slot& slot) {
    return slot.state == Slot::State::kReady ? 2 : slot.state == Slot::State::kStarting ? 1 : 0;
  };
  Slot* least = nullptr;
  for (const auto& slot : slots_) {
    if ((slot->form == form_) != of_current_form || slot->state == Slot::State::kEnding) continue;
    if (least == nullptr || use(*slot) <= use(*least)) least = slot.get();
  }
  return least;
}

int InstanceSet::Count(bool of_current_form) const {
  return static_cast<int>(std::ranges::count_if(slots_, [&](const auto& slot) {
    return (slot->form == form_) == of_current_form && slot->state != Slot::State::kEnding;
  }));
}

int InstanceSet::count() const {
  return static_cast<int>(std::ranges::count_if(
      slots_, [](const auto& slot) { return slot->state != Slot::State::kEnding; }));
}

int InstanceSet::starting() const {
  return static_cast<int>(std::ranges::count_if(slots_, [](const auto& slot) {
    return slot->state != Slot::State::kEnding && slot->state != Slot::State::kReady;
  }));
}

int InstanceSet::loading() const {
  return static_cast<int>(std::ranges::count_if(slots_, [](const auto& slot) {
    return slot->state == Slot::State::kStarting && slot->worker != nullptr &&
           slot->policy.useless_ends() < RestartPolicy::kLoadAttempts;
  }));
}

int InstanceSet::ending() const { return static_cast<int>(slots_.size()) - count(); }

void InstanceSet::KillAll(const std::string& why) {
  for (const auto& slot : slots_) {
    if (slot->worker) slot->worker->Kill(why);
  }
}

void InstanceSet::End() {
  if (std::exchange(ended_, true)) return;
  for (const auto& slot : slots_) {
    slot->restart.reset();
    if (std::exchange(slot->attached, false)) dispatcher_->Detach(slot->id);
    if (slot->worker)
      loop_.Post([keep = std::shared_ptr<InstanceWorker>(std::move(slot->worker))] {});
  }
  up_.store(0, std::memory_order_relaxed);
  TellAdopted(Unavailable("model '{}' is being unloaded", model_));
}

void InstanceSet::Publish() {
  std::vector<Info> infos;
  int up = 0;
  for (const auto& slot : slots_) {
    up += slot->state == Slot::State::kReady ? 1 : 0;
    if (slot->worker) slot->device = slot->worker->device();
    infos.push_back({slot->id, slot->worker ? slot->worker->pid() : 0,
                     kStateNames[static_cast<size_t>(slot->state)], slot->restarts, slot->last_end,
                     slot->form,
                     slot->worker ? slot->worker->process() : std::weak_ptr<const WorkerProcess>(),
                     slot->device});
  }
  std::ranges::sort(infos, {}, &Info::id);
  up_.store(up, std::memory_order_relaxed);
  const std::lock_guard lock(mutex_);
  infos_.swap(infos);
}

std::vector<InstanceSet::Info> InstanceSet::Infos() const {
  const std::lock_guard lock(mutex_);
  return infos_;
}

}  // namespace evenkeel
