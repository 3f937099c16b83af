// Moves freeze when many nodes vanish at once: it is likelier that this node, the network or the store is what failed, and moving everything
// that they held would make it worse. Routing and the recovery of streams never freeze.
//
// Rule: at least two nodes, and more than half of those that were there, went within `together`. The freeze ends once they are half or fewer again for
// `calm`, or when an operator says that they are gone for good (Release()).
// Contract: pure. The node that looks is one of the nodes. A node that is new is there; one that is no longer named has left in order and does not count.
// Thread-safety: thread-compatible.
#pragma once

#include <chrono>
#include <map>
#include <set>
#include <string>
#include <vector>

#include "core/clock.h"

namespace evenkeel {

struct NodePresence {
  std::string id;
  bool present = false;  // not suspect or dead
};

struct MassLossOptions {
  Duration together = std::chrono::seconds(20);  // leases lapse over a third of their time
  Duration calm = std::chrono::seconds(10);
};

class MassLoss {
 public:
  explicit MassLoss(const MassLossOptions& options = {}) : options_(options) {}

  // All nodes, each once. Times never fall.
  void Observe(const std::vector<NodePresence>& nodes, Time now);
  // The present loss is accepted: what went is gone. Later ones count anew.
  void Release();

  bool frozen() const { return frozen_; }
  // "moves are frozen: 3 of 5 nodes went at once: b, c, d"; "" if not frozen.
  std::string why() const;

 private:
  struct Node {
    bool present = true;
    Time went{};
    bool counts = false;  // went, and was not released since
  };

  const MassLossOptions options_;
  std::map<std::string, Node> nodes_;
  bool frozen_ = false;
  std::set<std::string> lost_;  // of the freeze
  size_t base_ = 0;             // nodes that were there before it
  Time few_since_ = kNever;     // while frozen: since when no more than half of them are away
};

}  // namespace evenkeel
