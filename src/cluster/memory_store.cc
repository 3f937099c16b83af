#include "cluster/memory_store.h"

#include <algorithm>
#include <deque>
#include <map>
#include <optional>
#include <utility>
#include <vector>

#include "core/format.h"

namespace evenkeel {
namespace {

constexpr int64_t kFirstLease = 1000;

struct Lease {
  Duration ttl{};
  Time until{};
};

struct Link {
  bool cut = false;
  Time cut_since{};
  Duration slow{};
};

// One watch, at the store and on its way to the node.
struct Watcher {
  std::string node, prefix;
  int64_t next = 0;  // revision
  KvWatchEvents events;
  bool registered = false;
  bool over = false;  // no event any more
  std::deque<std::pair<Time, KvChanges>> on_the_way;
};

std::string EndOfPrefix(std::string prefix) {
  ++prefix.back();  // prefixes end in '/'
  return prefix;
}

}  // namespace

struct MemoryStore::Image {
  std::map<std::string, KeyValue> keys;
  std::map<int64_t, std::vector<KeyValue>> log;  // changes by revision
  std::map<int64_t, Lease> leases;
  int64_t revision = 1;
  int64_t compacted = 0;
  int64_t next_lease = kFirstLease;
};

struct MemoryStore::State {
  State(EventLoop& loop, const Clock& the_clock) : clock(the_clock) {
    alarm = loop.MakeAlarm([this] { RunDue(); });
  }

  // Time.

  void At(Time at, std::function<void()> task) {
    queue.emplace(at, std::move(task));
    alarm->Set(queue.begin()->first);
  }

  void RunDue() {
    while (!queue.empty() && queue.begin()->first <= clock.Now()) {
      const auto task = std::move(queue.begin()->second);
      queue.erase(queue.begin());
      task();
    }
    alarm->Set(queue.empty() ? kNever : queue.begin()->first);
  }

  bool Reaches(const std::string& node) { return running && !links[node].cut; }

  // Changes.

  // What a transaction did or a lease's end: one revision.
  void Changed(std::vector<KeyValue> changes) {
    if (changes.empty()) return;
    ++data.revision;
    for (KeyValue& change : changes) {
      change.modified = data.revision;
      if (change.created == 0) {
        data.keys.erase(change.key);
      } else {
        if (change.created < 0) change.created = data.revision;
        data.keys[change.key] = change;
      }
    }
    data.log[data.revision] = std::move(changes);
    for (const auto& watcher : std::vector(watchers)) Feed(watcher);
  }

  void EndLease(int64_t id) {
    data.leases.erase(id);
    std::vector<KeyValue> gone;
    for (const auto& [key, value] : data.keys) {
      if (value.lease == id) gone.push_back({key, "", 0, 0, 0});
    }
    Changed(std::move(gone));
  }

  void CheckLease(int64_t id) {
    const auto at = data.leases.find(id);
    if (at == data.leases.end()) return;
    const Time now = clock.Now();
    const Time look = std::max(at->second.until, stalled_until);
    if (!running) return;  // Start() looks again
    if (look > now) {
      At(look, [this, id, of = lives] {
        if (of == lives) CheckLease(id);
      });
      return;
    }
    EndLease(id);
  }

  // Watches.

  void Feed(const std::shared_ptr<Watcher>& watcher) {
    if (watcher->over || !watcher->registered) return;
    KvChanges changes;
    for (auto at = data.log.lower_bound(watcher->next); at != data.log.end(); ++at) {
      for (const KeyValue& change : at->second) {
        if (change.key.starts_with(watcher->prefix)) changes.keys.push_back(change);
      }
    }
    watcher->next = data.revision + 1;
    if (changes.keys.empty()) return;
    changes.revision = data.revision;
    const Time at = std::max(clock.Now(), stalled_until) + kHop + links[watcher->node].slow;
    watcher->on_the_way.emplace_back(at, std::move(changes));
    At(at, [this, watcher] { Deliver(watcher); });
  }

  void Deliver(const std::shared_ptr<Watcher>& watcher) {
    while (!watcher->over && Reaches(watcher->node) && !watcher->on_the_way.empty() &&
           watcher->on_the_way.front().first <= clock.Now()) {
      KvChanges changes = std::move(watcher->on_the_way.front().second);
      watcher->on_the_way.pop_front();
      watcher->events.changes(std::move(changes));
    }
  }

  void EndWatch(const std::shared_ptr<Watcher>& watcher, Status why, bool compacted) {
    if (std::exchange(watcher->over, true)) return;
    std::erase(watchers, watcher);
    watcher->events.ended(std::move(why), compacted);
  }

  void BreakConnections() {
    for (const auto& watcher : std::vector(watchers)) {
      At(clock.Now() + kHop, [this, watcher] {
        EndWatch(watcher, Unavailable("the store broke the connection"), false);
      });
    }
  }

  const Clock& clock;
  Image data;
  bool running = true;
  int lives = 0;  // starts and restores: what was on its way before is lost
  Time stalled_until{};
  std::map<std::string, Link> links;
  std::vector<std::shared_ptr<Watcher>> watchers;
  std::multimap<Time, std::function<void()>> queue;
  std::unique_ptr<Alarm> alarm;
};

class MemoryStore::End final : public KvStore {
 public:
  End(std::shared_ptr<State> state, std::string node)
      : state_(std::move(state)), node_(std::move(node)) {}

  void Read(const std::string& prefix, Done<KvSnapshot> done) override {
    Ask<KvSnapshot>(
        [this, prefix]() -> Result<KvSnapshot> {
          const Image& data = state_->data;
          KvSnapshot snapshot;
          snapshot.revision = data.revision;
          const auto end = data.keys.lower_bound(EndOfPrefix(prefix));
          for (auto at = data.keys.lower_bound(prefix); at != end; ++at)
            snapshot.keys.push_back(at->second);
          return snapshot;
        },
        std::move(done));
  }

  void Commit(KvTransaction transaction, Done<KvCommitted> done) override {
    Ask<KvCommitted>([this, transaction = std::move(transaction)] { return Apply(transaction); },
                     std::move(done));
  }

  void Grant(Duration ttl, Done<KvLease> done) override {
    Ask<KvLease>(
        [this, ttl]() -> Result<KvLease> {
          const int64_t id = state_->data.next_lease++;
          state_->data.leases[id] = {ttl, state_->clock.Now() + ttl};
          state_->CheckLease(id);
          return KvLease{id, ttl};
        },
        std::move(done));
  }

  void Refresh(int64_t lease, Done<Duration> done) override {
    Ask<Duration>(
        [this, lease]() -> Result<Duration> {
          const auto at = state_->data.leases.find(lease);
          if (at == state_->data.leases.end()) return NotFound("there is no lease {}", lease);
          at->second.until = state_->clock.Now() + at->second.ttl;
          return at->second.ttl;
        },
        std::move(done));
  }

  void Revoke(int64_t lease, Done<bool> done) override {
    Ask<bool>(
        [this, lease]() -> Result<bool> {
          const bool there = state_->data.leases.contains(lease);
          if (there) state_->EndLease(lease);
          return there;
        },
        std::move(done));
  }

  std::unique_ptr<KvWatch> Watch(const std::string& prefix, int64_t from_revision,
                                 KvWatchEvents events) override {
    auto watcher = std::make_shared<Watcher>();
    watcher->node = node_;
    watcher->prefix = prefix;
    watcher->next = from_revision;
    watcher->events = std::move(events);
    state_->watchers.push_back(watcher);
    if (!state_->running) {
      state_->BreakConnections();
    } else {
      const Time at = std::max(state_->clock.Now() + kHop, state_->stalled_until);
      state_->At(at, [state = state_.get(), watcher, lives = state_->lives] {
        if (watcher->over || lives != state->lives) return;
        if (!state->Reaches(watcher->node)) {
          state->At(state->clock.Now() + kDeadAfter, [state, watcher] {
            state->EndWatch(watcher, Unavailable("the connection is dead"), false);
          });
          return;
        }
        if (watcher->next <= state->data.compacted) {
          const Time told = state->clock.Now() + kHop + state->links[watcher->node].slow;
          state->At(told,
                    [state, watcher] { state->EndWatch(watcher, Unavailable("compacted"), true); });
          return;
        }
        watcher->registered = true;
        state->Feed(watcher);
      });
    }
    return std::make_unique<Handle>(state_, std::move(watcher));
  }

 private:
  class Handle final : public KvWatch {
   public:
    Handle(std::shared_ptr<State> state, std::shared_ptr<Watcher> watcher)
        : state_(std::move(state)), watcher_(std::move(watcher)) {}
    ~Handle() override {
      watcher_->over = true;
      std::erase(state_->watchers, watcher_);
    }

   private:
    const std::shared_ptr<State> state_;
    const std::shared_ptr<Watcher> watcher_;
  };

  template <typename T>
  struct Call {
    Done<T> done;
    bool over = false;
    std::optional<Result<T>> answer;
  };

  // Has the store do `work`, and the answer come back; both ways may fail.
  template <typename T>
  void Ask(std::function<Result<T>()> work, Done<T> done) {
    auto call = std::make_shared<Call<T>>();
    call->done = std::move(done);
    State& state = *state_;
    const auto finish = [call, alive = std::weak_ptr<const bool>(alive_)](Result<T> result) {
      if (alive.expired() || std::exchange(call->over, true)) return;
      call->done(std::move(result));
    };
    const Time now = state.clock.Now();
    if (!state.running) {
      state.At(now + kHop, [finish] { finish(Unavailable("connection refused")); });
      return;
    }
    state.At(now + kCallTimeout,
             [finish] { finish(Unavailable("no answer within {} s", Seconds(kCallTimeout))); });
    if (!state.Reaches(node_)) return;
    state.At(std::max(now + kHop, state.stalled_until),
             [this, call, finish, lives = state.lives, alive = std::weak_ptr<const bool>(alive_),
              work = std::move(work), shared = state_.get()] {
               if (alive.expired() || lives != shared->lives || !shared->Reaches(node_)) return;
               call->answer = work();
               const Time back = shared->clock.Now() + kHop + shared->links[node_].slow;
               shared->At(back, [call, finish, shared, lives, node = node_] {
                 if (lives == shared->lives && shared->Reaches(node))
                   finish(std::move(*call->answer));
               });
             });
  }

  Result<KvCommitted> Apply(const KvTransaction& transaction) {
    Image& data = state_->data;
    for (const KvCondition& condition : transaction.conditions) {
      const auto at = data.keys.find(condition.key);
      const bool created = condition.field == KvCondition::Field::kCreated;
      int64_t revision = 0;
      if (at != data.keys.end()) revision = created ? at->second.created : at->second.modified;
      if (revision != condition.revision) return KvCommitted{false, data.revision};
    }
    std::vector<KeyValue> changes;
    for (const KvTransaction::Put& put : transaction.puts) {
      if (put.lease != 0 && !data.leases.contains(put.lease))
        return NotFound("there is no lease {}", put.lease);
      const auto at = data.keys.find(put.key);
      changes.push_back(
          {put.key, put.value, at == data.keys.end() ? -1 : at->second.created, 0, put.lease});
    }
    for (const std::string& key : transaction.deletes) {
      if (data.keys.contains(key)) changes.push_back({key, "", 0, 0, 0});
    }
    state_->Changed(std::move(changes));
    return KvCommitted{true, data.revision};
  }

  const std::shared_ptr<State> state_;
  const std::string node_;
  const std::shared_ptr<const bool> alive_ = std::make_shared<const bool>(true);
};

MemoryStore::MemoryStore(EventLoop& loop, const Clock& clock)
    : state_(std::make_shared<State>(loop, clock)) {}

MemoryStore::~MemoryStore() = default;

std::unique_ptr<KvStore> MemoryStore::Connect(const std::string& node) {
  return std::make_unique<End>(state_, node);
}

void MemoryStore::Cut(const std::string& node) {
  Link& link = state_->links[node];
  if (std::exchange(link.cut, true)) return;
  link.cut_since = state_->clock.Now();
  state_->At(link.cut_since + kDeadAfter, [state = state_.get(), node, since = link.cut_since] {
    if (!state->links[node].cut || state->links[node].cut_since != since) return;
    for (const auto& watcher : std::vector(state->watchers)) {
      if (watcher->node == node)
        state->EndWatch(watcher, Unavailable("the connection is dead"), false);
    }
  });
}

void MemoryStore::Heal(const std::string& node) {
  state_->links[node].cut = false;
  state_->At(state_->clock.Now() + kHop, [state = state_.get(), node] {
    for (const auto& watcher : std::vector(state->watchers)) {
      if (watcher->node == node) state->Deliver(watcher);
    }
  });
}

void MemoryStore::Slow(const std::string& node, Duration by) { state_->links[node].slow = by; }

void MemoryStore::Stall(Duration by) { state_->stalled_until = state_->clock.Now() + by; }

void MemoryStore::Stop() {
  state_->running = false;
  ++state_->lives;
  state_->BreakConnections();
}

void MemoryStore::Start() {
  state_->running = true;
  ++state_->lives;
  const Time now = state_->clock.Now();
  std::vector<int64_t> ids;
  for (auto& [id, lease] : state_->data.leases) {
    lease.until = now + lease.ttl;
    ids.push_back(id);
  }
  for (const int64_t id : ids) state_->CheckLease(id);
}

void MemoryStore::Compact() {
  state_->data.compacted = state_->data.revision;
  state_->data.log.clear();
}

void MemoryStore::EndLeases(const std::string& suffix) {
  std::vector<int64_t> ids;
  for (const auto& [key, value] : state_->data.keys) {
    if (value.lease != 0 && key.ends_with(suffix)) ids.push_back(value.lease);
  }
  for (const int64_t id : ids) state_->EndLease(id);
}

std::shared_ptr<const MemoryStore::Image> MemoryStore::Save() const {
  return std::make_shared<const Image>(state_->data);
}

void MemoryStore::Restore(const Image& image) {
  Stop();
  const int64_t next_lease = state_->data.next_lease;  // etcd gives no id twice either
  state_->data = image;
  state_->data.next_lease = next_lease;
  Start();
}

int64_t MemoryStore::revision() const { return state_->data.revision; }

}  // namespace evenkeel
