#include "cluster/policy/surplus.h"

#include <algorithm>
#include <cstddef>
#include <iterator>
#include <tuple>

#include "cluster/policy/placement.h"

namespace evenkeel {
namespace {

size_t Index(int i) { return static_cast<size_t>(i); }

bool IsOn(const SurplusModel& model, int node) {
  return std::ranges::find(model.on, node, &SurplusReplica::node) != model.on.end();
}

// Of each node that stays, where the work is shared out evenly.
double LevelWithout(const SurplusModel& model, int leaves) {
  double speed = 0;
  for (const SurplusReplica& one : model.on) {
    if (one.node == leaves) continue;
    const double seconds = model.seconds[Index(one.node)];
    if (seconds <= 0) return 0;
    speed += 1 / seconds;
  }
  return speed > 0 ? 1 / speed : kImpossible;
}

bool CanGo(const SurplusModel& model, int node, double now_s, const SurplusOptions& options) {
  return model.asked > 0 && std::ssize(model.on) > model.asked &&
         now_s - model.still_s >= options.still_s && LevelWithout(model, node) <= options.carry_s;
}

bool CouldServe(const SurplusModel& model, int node) {
  const double seconds = model.seconds[Index(node)];
  return seconds > 0 && seconds < kImpossible && !IsOn(model, node);
}

// A node that is suspect for a moment, one that is loading a replica, and memory that is taken for a moment are no lack.
bool LacksRoom(const SurplusProblem& problem, const SurplusModel& model, double now_s,
               const SurplusOptions& options) {
  if (model.on.empty() || std::ssize(model.on) >= model.asked ||
      now_s - std::max(model.still_s, model.room_s) < options.missing_s)
    return false;
  for (int node = 0; node < std::ssize(problem.free_bytes); ++node) {
    if (CouldServe(model, node) && HasRoom(problem.free_bytes[Index(node)], model.memory_bytes))
      return false;
  }
  return true;
}

// The first of those that lack room which would have it there; -1: none.
int WantedBy(const SurplusProblem& problem, const std::vector<int>& lacking,
             const SurplusReplica& replica) {
  for (const int index : lacking) {
    const SurplusModel& model = problem.models[Index(index)];
    if (CouldServe(model, replica.node) &&
        problem.free_bytes[Index(replica.node)] + replica.bytes >= model.memory_bytes)
      return index;
  }
  return -1;
}

}  // namespace

std::optional<Surplus> SurplusToGiveUp(const SurplusProblem& problem, double now_s,
                                       const SurplusOptions& options) {
  std::vector<int> lacking;
  for (int i = 0; i < std::ssize(problem.models); ++i) {
    if (LacksRoom(problem, problem.models[Index(i)], now_s, options)) lacking.push_back(i);
  }
  std::optional<Surplus> best;
  std::tuple<bool, double, int64_t> most;
  for (int i = 0; i < std::ssize(problem.models); ++i) {
    const SurplusModel& model = problem.models[Index(i)];
    for (const SurplusReplica& replica : model.on) {
      if (!CanGo(model, replica.node, now_s, options)) continue;
      const int wanted_by = WantedBy(problem, lacking, replica);
      if (wanted_by < 0 && !model.said) continue;
      const std::tuple<bool, double, int64_t> worth(wanted_by >= 0, replica.since_s, replica.bytes);
      if (best && worth <= most) continue;
      best = Surplus{i, replica.node, wanted_by};
      most = worth;
    }
  }
  return best;
}

}  // namespace evenkeel
