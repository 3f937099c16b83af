// Which replica beyond those that were asked for is given up: one that was brought for a node that was lost, say, when that node is back and serves again.
//
// How it goes: a model may give one up where more replicas serve it than people asked for, the same nodes have served it and as many were asked for during `still_s` (a node that comes and goes
//   takes nothing away), and those that stay carry its work at `carry_s` each: half of what makes a plan add a replica (replicas.h), so that none comes back for the load.
//   It does so where its memory is wanted: another model has lacked a replica that was asked for during `missing_s`, no node has had room for that as long, and this one's node would; or where people asked
//   for fewer while these served. Of several the one whose memory is wanted, then the one whose node has had the model the shortest (the node that came back is the older one), then the largest.
// Contract: one at a time, and never below what was asked for. Models of which nobody asked for a number give nothing up, those that nobody calls want nothing.
// Deterministic: of equal ones the first. Units: bytes; seconds on the caller's clock, and seconds of work a second. Thread-safety: pure. Source: ours; the wishes are cluster/live/replica_wishes.h.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

namespace evenkeel {

struct SurplusReplica {
  int node = 0;
  int64_t bytes = 0;   // that it takes there
  double since_s = 0;  // when the node first had the model, absences included
};

struct SurplusModel {
  int asked = 0;             // replicas that people want; 0: nobody said
  bool said = false;         // that was said while these served, others perhaps beside them
  double still_s = 0;        // since when the same nodes serve it and as many are asked for
  double room_s = 0;         // when a node had room for one more, last
  int64_t memory_bytes = 0;  // of one more replica
  std::vector<SurplusReplica> on;
  std::vector<double>
      seconds;  // by node: of all its work, were it there alone; 0: nobody calls it; kImpossible: it can't be there, or nothing is known of it
};

struct SurplusProblem {
  std::vector<SurplusModel> models;
  std::vector<int64_t>
      free_bytes;  // by node, beside what serves; 0: not known, and taken as enough
};

struct SurplusOptions {
  double still_s = 600;    // as long as a plan's figures hold (live/replan.h)
  double missing_s = 300;  // as long as a replica may be missing (live/feedback.h)
  double carry_s = 0.4;
};

struct Surplus {
  int model = 0, node = 0;
  int wanted_by = -1;  // the model that lacks its memory; -1: people asked for fewer
  bool operator==(const Surplus&) const = default;
};

inline bool HasRoom(int64_t free_bytes, int64_t memory_bytes) {
  return free_bytes == 0 || free_bytes >= memory_bytes;
}

// REQUIRES: `seconds` of each model are as many as nodes. nullopt: nothing is given up.
std::optional<Surplus> SurplusToGiveUp(const SurplusProblem& problem, double now_s,
                                       const SurplusOptions& options = {});

}  // namespace evenkeel
