// A plan as it is stored: in the cluster's store and on each node's disk, the same text. What the plan says is the planner's; here it is a text.
//
// A plan is fenced by its stamp: the term of the leader that made it, and the store's revision at which it was stored. A stamp that is greater is newer.
// A term is (history, revision): `revision` is the store's when the leader was elected, so that a later leader has a greater one; `history` counts how
//   often the store was put back to an older state (a restored backup), after which its revisions start again lower.
// Contract: Parse takes what Write gives. Whatever was changed in between, a bit or the end that is missing, is found by the checksum (SHA-256 over every
//   field). Errors: kInvalidArgument (malformed, another schema, wrong checksum: which, expected and got), kTooLarge over kMostStoredPlanBytes.
// Thread-safety: values.
#pragma once

#include <compare>
#include <cstdint>
#include <string>
#include <string_view>

#include "core/status.h"

namespace evenkeel {

// As stored, so with what JSON escapes: below what etcd takes in one request (1.5 MiB).
inline constexpr size_t kMostStoredPlanBytes = 1 << 20;

struct Term {
  int64_t history = 0;   // >= 0
  int64_t revision = 0;  // > 0; 0: no term
  auto operator<=>(const Term&) const = default;
};

struct PlanStamp {
  Term term;
  int64_t revision = 0;  // > 0 once it is stored; 0 before
  auto operator<=>(const PlanStamp&) const = default;
};

// "history 0, term 12, revision 15"
std::string ToText(const Term& term);
std::string ToText(const PlanStamp& stamp);

struct StoredPlan {
  std::string cluster;  // id
  PlanStamp stamp;
  std::string made_by;  // node id
  std::string plan;     // UTF-8

  bool operator==(const StoredPlan&) const = default;
};

// Errors: kInvalidArgument (not UTF-8, an id that is none, a negative stamp), kTooLarge.
Result<std::string> WriteStoredPlan(const StoredPlan& plan);
Result<StoredPlan> ParseStoredPlan(std::string_view text);

}  // namespace evenkeel
