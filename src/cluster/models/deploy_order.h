// What one node is asked to do with a model, and how far it is with it.
//
// Units: bytes. Thread-safety: values.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "cluster/stored_plan.h"
#include "core/status.h"

namespace evenkeel {

inline constexpr size_t kMostReasonBytes = 300;

// To serve the model: copied from one of the holders where it is not there yet.
struct DeployOrder {
  std::string model, digest;         // the content id
  std::vector<std::string> holders;  // nodes that have it
  std::string why;                   // for the event log
  // That it comes from, if that was stored: a node that knows a newer one refuses. None: people asked, or there is no store.
  std::optional<PlanStamp> plan = {};
};

struct UndeployOrder {
  std::string model;
  bool remove_files = true;  // false: it is unloaded only
  std::string why;
  std::optional<PlanStamp> plan = {};  // as above
  bool force = false;                  // also if no other node serves it
};

enum class DeployState : uint8_t { kUnknown, kWaiting, kCopying, kLoading, kServing, kFailed };
std::string_view NameOf(DeployState state);  // "waiting"
inline bool IsFinal(DeployState state) {
  return state == DeployState::kServing || state == DeployState::kFailed;
}

// kUnknown: the node has no such order, or forgot it in a restart.
struct DeployProgress {
  DeployState state = DeployState::kUnknown;
  uint64_t bytes_total = 0, bytes_done = 0;
  uint64_t bytes_resumed = 0;  // of those done: from an earlier copy
  uint64_t bytes_fetched = 0;  // over the link
  std::string from;            // the node that it was copied from; empty: it was there
  std::string error;           // kFailed
};

// Printable, at most kMostReasonBytes: it goes to logs and terminals. Error kInvalidArgument.
Status CheckReason(std::string_view why);

}  // namespace evenkeel
