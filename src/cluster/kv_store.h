// What membership needs of a store: keys with revisions, transactions, leases, watches. The part of etcd's model that we use.
//
// Model: every change has a revision, counted up by one through the whole store. A key knows the revision that created it and the one that changed it
//   last; a key under a lease goes when the lease does. Reads are linearizable.
// Contract: nothing blocks; `done` comes exactly once, on the loop's thread, never within the call; after the destructor nothing comes. Every call ends by
//   a deadline of the store's own. Errors: kUnavailable (no answer, or none in time: a transaction may have happened), kUnauthenticated,
//   kPermissionDenied, kTooLarge, kUnsupported (another version of the store), kInternal.
// Implementations: etcd/etcd_store.h, memory_store.h.
// Thread-safety: single-owner (the loop).
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "core/clock.h"
#include "core/status.h"

namespace evenkeel {

struct KeyValue {
  std::string key, value;
  int64_t created = 0;   // revision
  int64_t modified = 0;  // revision
  int64_t lease = 0;     // 0: none
};

// All keys under a prefix, as of one revision.
struct KvSnapshot {
  int64_t revision = 0;
  std::vector<KeyValue> keys;  // ascending
};

// Holds if what it names is so; a key that is not there has the revisions 0.
struct KvCondition {
  enum class Field : uint8_t { kCreated, kModified };
  std::string key;
  Field field = Field::kCreated;
  int64_t revision = 0;
};

struct KvTransaction {
  struct Put {
    std::string key, value;
    int64_t lease = 0;
  };
  std::vector<KvCondition> conditions;  // all hold, or nothing is done
  std::vector<Put> puts;
  std::vector<std::string> deletes;
};

struct KvCommitted {
  bool done = false;     // the conditions held
  int64_t revision = 0;  // of the change; of the store, if nothing was done
};

struct KvLease {
  int64_t id = 0;
  Duration ttl{};
};

// Changes up to `revision`, in order. A deleted key has `created` 0.
struct KvChanges {
  int64_t revision = 0;
  std::vector<KeyValue> keys;
};

struct KvWatchEvents {
  std::function<void(KvChanges)> changes;
  // Last. `compacted`: what was asked for is no longer kept; read anew. Otherwise the connection is lost, or the store refused.
  std::function<void(Status why, bool compacted)> ended;
};

// Destroying it ends the watch; no event comes afterwards. No event destroys it, but the receiver may, also within an event.
class KvWatch {
 public:
  virtual ~KvWatch() = default;
};

class KvStore {
 public:
  template <typename T>
  using Done = std::function<void(Result<T>)>;

  virtual ~KvStore() = default;
  virtual void Read(const std::string& prefix, Done<KvSnapshot> done) = 0;
  virtual void Commit(KvTransaction transaction, Done<KvCommitted> done) = 0;
  virtual void Grant(Duration ttl, Done<KvLease> done) = 0;
  // Of the lease's time what is left now, all of it again. kNotFound: it is gone.
  virtual void Refresh(int64_t lease, Done<Duration> done) = 0;
  // True: it was there.
  virtual void Revoke(int64_t lease, Done<bool> done) = 0;
  // Changes under the prefix from `from_revision` on.
  virtual std::unique_ptr<KvWatch> Watch(const std::string& prefix, int64_t from_revision,
                                         KvWatchEvents events) = 0;
};

}  // namespace evenkeel
