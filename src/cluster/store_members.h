// The members of the cluster's store, as the store itself has them: who takes part in its agreement, and how that changes.
//
// A new member comes as a learner, which is told everything and has no vote: one that never starts takes nothing from the others. It is made a voter once it
//   has caught up.
// Contract: nothing blocks; `done` comes exactly once, on the loop's thread, never within the call; after the destructor nothing comes. A list is not older than
//   the call. Errors: as KvStore; kInternal with the store's words where it refuses a change (not caught up, another change under way).
// Implementations: etcd/etcd_members.h. Thread-safety: single-owner (the loop).
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "core/status.h"

namespace evenkeel {

struct StoreMember {
  uint64_t id = 0;
  std::string name;      // empty: it was added, and has never run
  std::string peer_url;  // "https://10.0.0.2:8013"
  std::string endpoint;  // for clients, "10.0.0.2:8012"; empty: it has never run
  bool learner = false;

  bool operator==(const StoreMember&) const = default;
};

class StoreMembers {
 public:
  using Listed = std::function<void(Result<std::vector<StoreMember>>)>;
  using Done = std::function<void(Status)>;

  virtual ~StoreMembers() = default;
  virtual void List(Listed done) = 0;
  virtual void AddLearner(const std::string& peer_url, Done done) = 0;
  virtual void Promote(uint64_t id, Done done) = 0;
  virtual void Remove(uint64_t id, Done done) = 0;
};

}  // namespace evenkeel
