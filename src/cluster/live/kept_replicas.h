// The replicas of models for which people asked for a number: since when the same nodes serve them, and which one goes again when there are more than were asked for.
//
// Use for: beside plans, which keep what serves (feedback.h). What may go is policy/surplus.h's; here is what that needs to know, from nodes' figures.
// Contract: Look() sees every change of who serves what. Choose() names a replica once: one of the same model again only after the nodes that serve it, or what was asked for, have changed, after
//   NotDone(), or after kAgain, where it came to nothing (nobody led at that moment, the node refused it). A node's first sight of a model is remembered for kForget while it is away, so that of a node that came back and the one that stood in the latter is the newer.
//   Nodes that are suspect neither keep nor give up anything, but have room as they had it, for as long as a replica may be missing; those that drain keep what they have, and have no room.
// Deterministic. Units: seconds on the caller's clock. Thread-safety: single-owner. Source: ours.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <set>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "cluster/live/measured_costs.h"
#include "cluster/live/replica_table.h"
#include "cluster/policy/surplus.h"

namespace evenkeel {

class KeptReplicas {
 public:
  static constexpr double kForget = 24 * 3600;
  static constexpr double kAgain = 4 * 3600;  // as seldom as a replica that is missing is tried

  explicit KeptReplicas(SurplusOptions options = {}) : options_(options) {}

  void Look(std::span<const ReplicaTable::NodeView> nodes, const MeasuredCosts& costs,
            double now_s);

  struct GivenUp {
    std::string model, node;
    std::vector<std::string> stay;  // nodes that serve it on
    std::string reason;
  };
  // Calls of a model a second, of all nodes; 0: nobody calls it, or so seldom that it wants nothing. Of a model that has too many replicas what these tell counts, however little.
  using RateOf = std::function<double(std::string_view model)>;
  // REQUIRES: Look() of the same nodes and time.
  std::optional<GivenUp> Choose(std::span<const ReplicaTable::NodeView> nodes,
                                const MeasuredCosts& costs, const RateOf& rate_of, double now_s);
  // What was named last of the model was held up by something that says nothing of it: it is named again after as long as such a replica has to serve.
  void NotDone(std::string_view model, double now_s);

 private:
  struct Seen {
    double first_s = 0, last_s = 0;
  };
  struct Model {
    std::map<std::string, Seen, std::less<>> seen;  // by node
    std::set<std::string, std::less<>> on;          // that serve it now
    int asked = 0;
    int64_t said_ms = 0;
    bool said = false;  // while these served, others perhaps beside them
    double still_s = 0;
    double room_s = 0;              // when a node had room for one that is missing, last
    std::optional<double> named_s;  // a replica was named; nullopt: not while these served
    bool named(double now_s) const { return named_s && now_s - *named_s < kAgain; }
  };
  bool FindsRoom(std::string_view name, const Model& model,
                 std::span<const ReplicaTable::NodeView> nodes, const MeasuredCosts& costs,
                 double now_s) const;
  SurplusProblem ProblemOf(std::span<const ReplicaTable::NodeView* const> nodes,
                           const MeasuredCosts& costs, const RateOf& rate_of, double now_s) const;

  const SurplusOptions options_;
  std::map<std::string, Model, std::less<>> models_;
};

}  // namespace evenkeel
