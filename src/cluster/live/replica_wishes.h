// How many replicas people asked for, by model, and how many each model is to keep.
//
// The latest word on a model counts, whichever node it was said to: nodes tell each other all of it with their figures. A word is later by its time, and by its number where times are equal.
// Contract: what is taken in any order, once or often, gives the same. At most kMost models; past it the oldest words go. Thread-safety: values and pure functions.
#pragma once

#include <cstdint>
#include <map>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "cluster/live/node_figures.h"
#include "cluster/live/replica_table.h"
#include "core/status.h"

namespace evenkeel {

class ReplicaWishes {
 public:
  static constexpr size_t kMost = 1000;

  // True: it is later than what was known of the model.
  bool Take(const ReplicaWish& wish);
  // Said now; `replicas` 0: whatever was asked for before holds no more. Counts as later than what is known, also where a clock goes wrong.
  void Ask(const std::string& model, int replicas, int64_t unix_ms);
  // 0: nobody asked.
  int Of(std::string_view model) const;
  int64_t SaidAt(std::string_view model) const;  // unix_ms; 0: nobody asked
  std::vector<ReplicaWish> All() const;          // by model

 private:
  std::map<std::string, ReplicaWish, std::less<>> wishes_;
};

// A file's text, and back. Errors: kInvalidArgument, kTooLarge.
std::string WriteWishes(const ReplicaWishes& wishes);
Result<ReplicaWishes> ParseWishes(std::string_view text);

// What nodes told: how many were asked for, and how many nodes serve it now (suspect ones do not count).
struct ReplicasOf {
  int asked = 0;  // 0: nobody did
  int serving = 0;
  int64_t said_ms = 0;  // when that was asked for, unix
  // What people said, else what is there. At least 1.
  int least() const { return asked > 0 ? asked : (serving > 1 ? serving : 1); }
};
std::map<std::string, ReplicasOf, std::less<>> ReplicasNow(
    std::span<const ReplicaTable::NodeView> nodes);

}  // namespace evenkeel
