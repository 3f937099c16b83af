// How many members the cluster's store has, and on which nodes: one while there are one or two nodes, three from the third on. The node that leads takes the steps,
// one at a time.
//
// Rules: never fewer than there are; a dead member is replaced only when an operator removed it (two of three still agree, and it may come back).
//   A new member comes as a learner and is made a voter once it has caught up; a learner that does not start within `patience` is removed, and its node is
//   passed over for `rest`. Nothing grows while a voter's node is not there.
// Contract: pure, but for what it remembers of learners. Times never fall. Thread-safety: thread-compatible.
#pragma once

#include <chrono>
#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "cluster/store_members.h"
#include "core/clock.h"

namespace evenkeel {

// A node that is there, and where its member would be.
struct StoreSite {
  std::string node;
  std::string peer_url;
};

struct StoreStep {
  enum class What : uint8_t { kNothing, kAdd, kPromote, kRemove };
  What what = What::kNothing;
  uint64_t member = 0;   // of kPromote and kRemove
  std::string node;      // whom it is about
  std::string peer_url;  // of kAdd
};

struct StoreGrowthOptions {
  size_t members = 3;  // from so many nodes on there are so many members
  Duration patience = std::chrono::seconds(60);
  Duration rest = std::chrono::minutes(10);
};

class StoreGrowth {
 public:
  explicit StoreGrowth(const StoreGrowthOptions& options = {}) : options_(options) {}

  // `sites`: of all nodes that are there, in the order in which they are to get members.
  StoreStep Next(const std::vector<StoreMember>& members, const std::vector<StoreSite>& sites,
                 Time now);

 private:
  StoreStep OfLearner(const StoreMember& learner, const std::vector<StoreSite>& sites, Time now);

  const StoreGrowthOptions options_;
  uint64_t learner_ = 0;  // that was seen last
  Time learner_since_{};
  std::map<std::string, Time> passed_over_;  // by peer URL, until when
};

}  // namespace evenkeel
