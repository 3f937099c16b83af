// The instances of one model version: they come and go while it serves, are started again when they end, and are exchanged for
// others of another form without a request dropped.
//
// A slot's life: its worker starts and loads; it is attached to the dispatcher and warmed; it is ready. A worker that ends unasked is
//   started again (RestartPolicy). A slot that is not wanted any more gets no batches (Dispatcher::Retire), ends what runs, and goes.
// Contract: there are as many slots of the current form as are wanted, at once where more are needed. After Adopt() they are started one
//   by one, and one of the old form goes for each that is ready, so that what serves is never fewer than before and memory holds one more
//   than wanted at most. If an instance of the new form can't be started before the last old one has gone, the old form is current again, and Adopt() says why.
//   Until the first instance of all is warm there is at most one: it shows whether the model can be served.
//   Several forms may have slots at the same time; each slot says which is its own.
// Ownership: the owner, the loop, the clock outlive this object; the dispatcher that OnLoaded() returned outlives End().
// Thread-safety: single-owner (the loop); Infos(), up(), starts(), restarts(), out_of_memory() are thread-safe.
// Source: A13.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "batching/dispatcher.h"
#include "containers/restart_policy.h"
#include "core/clock.h"
#include "core/event_loop.h"
#include "server/instance_form.h"
#include "server/worker.h"

namespace evenkeel {

// A worker that could not be started, or ended before it was asked to.
struct InstanceTrouble {
  enum class Kind {
    kNotStarted,  // `why` is the runtime's
    kRefused,     // the engine does not take the model: `why`
    kEnded        // `how` it ended
  };
  int id = 0;  // the slot's
  Kind kind = Kind::kEnded;
  Status why;
  std::string how;
  int useless_ends = 0;  // in a row, of this slot
  Duration pause{};      // until it is started again
};

class InstanceSet {
 public:
  class Owner {
   public:
    virtual ~Owner() = default;
    virtual Result<std::unique_ptr<InstanceWorker>> StartWorker(int id, const InstanceForm& form,
                                                                WorkerEvents events) = 0;
    // A worker has loaded the model. The dispatcher to attach it to, or null: it is of no use, and the set is being ended.
    virtual Dispatcher* OnLoaded(LoadedModel loaded) = 0;
    virtual void OnReady(int id) = 0;
    // The slot is started again after `trouble.pause`, unless the owner ends the set.
    virtual void OnTrouble(const InstanceTrouble& trouble) = 0;
    // An instance came up or has gone, or the form is another.
    virtual void OnChange() {}
  };

  struct Info {
    int id = 0;
    pid_t pid = 0;
    std::string state;  // "starting", "ready", "ending", "waiting to restart"
    uint64_t restarts = 0;
    std::string last_end;  // how the previous worker ended
    std::shared_ptr<const InstanceForm> form;
    std::weak_ptr<const WorkerProcess> process;  // see InstanceWorker::process()
    InstanceDevice device;
  };

  // Instances have ids from `first_id` on: two sets of one dispatcher must not share any.
  InstanceSet(Owner& owner, std::string model, EventLoop& loop, const Clock& clock,
              int first_id = 0);
  ~InstanceSet();

  // The first instance. REQUIRES: called once, before what follows.
  void Start(std::shared_ptr<const InstanceForm> form);
  // How many there are to be of the current form, >= 0.
  void SetWanted(int wanted);
  // Instances are of `form` from now on. `done` (may be empty) is called once: ok when one of them was ready and none of the
  // old ones gets batches any more (at rest: not before the next start), or why the old form stays. A further Adopt() before that ends the first with kUnavailable.
  void Adopt(std::shared_ptr<const InstanceForm> form, std::function<void(Status)> done);
  // The dispatcher says so.
  void OnWarm(int id);
  void OnHang(int id);
  // Kills every worker: what runs is not waited for.
  void KillAll(const std::string& why);
  // No worker runs or is started any more, and nothing is told. Call before the dispatcher is closed.
  void End();

  int wanted() const { return wanted_; }
  int count() const;     // slots that stay, of any form, up or not
  int starting() const;  // of them, not ready
  int loading() const;   // of those, with a worker whose like did not end again and again
  int ending() const;    // besides them
  const std::shared_ptr<const InstanceForm>& form() const { return form_; }
  // From a worker's start to the first batch that it could take, of the current form: mean with weight 1/2. Zero: not known.
  Duration start_up() const { return start_up_; }

  std::vector<Info> Infos() const;
  int up() const { return up_.load(std::memory_order_relaxed); }
  uint64_t starts() const { return starts_.load(std::memory_order_relaxed); }
  uint64_t restarts() const { return restarts_.load(std::memory_order_relaxed); }
  // Of them, those whose worker the kernel killed for its memory.
  uint64_t out_of_memory() const { return out_of_memory_.load(std::memory_order_relaxed); }

 private:
  struct Slot;

  void AddSlot(const std::shared_ptr<const InstanceForm>& form);
  void StartWorker(Slot& slot);
  void OnLoaded(Slot& slot, LoadedModel loaded);
  void OnEnded(Slot& slot, const std::string& how);
  void Remove(Slot& slot);  // the slot may be gone afterwards
  void OnRetired(uint64_t serial);
  void Erase(const Slot& slot);
  void Trouble(Slot& slot, InstanceTrouble trouble);
  bool GiveUpForm(const InstanceTrouble& trouble);
  void TellAdopted(const Status& status);
  void Balance();
  void EndSurplus();
  void ReplaceOld();
  Slot* Find(int id) const;
  Slot* LeastUseful(bool of_current_form) const;
  int Count(bool of_current_form) const;
  void Publish();

  Owner& owner_;
  const std::string model_;  // for messages
  const int first_id_;
  EventLoop& loop_;
  const Clock& clock_;
  Dispatcher* dispatcher_ = nullptr;
  std::shared_ptr<const InstanceForm> form_, old_form_;  // old: while an exchange may be undone
  bool unseen_ = false;                                  // none of the adopted form was ready yet
  std::function<void(Status)> adopted_;
  std::vector<std::unique_ptr<Slot>> slots_;
  int wanted_ = 0;
  uint64_t next_serial_ = 1;
  bool proven_ = false;  // an instance has been warm
  bool ended_ = false;
  Duration start_up_{};

  std::atomic<int> up_{0};
  std::atomic<uint64_t> starts_{0}, restarts_{0}, out_of_memory_{0};
  mutable std::mutex mutex_;  // guards infos_
  std::vector<Info> infos_;
};

}  // namespace evenkeel
