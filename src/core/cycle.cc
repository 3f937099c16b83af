#include "core/cycle.h"

#include <algorithm>
#include <cstddef>
#include <cstdint>

namespace evenkeel {
namespace {

size_t Index(int i) { return static_cast<size_t>(i); }

}  // namespace

std::vector<int> FindCycle(int count, const std::vector<std::pair<int, int>>& edges) {
  std::vector<std::vector<int>> next(Index(count));
  for (const auto& [before, after] : edges) next[Index(before)].push_back(after);
  enum class State : uint8_t { kNew, kOpen, kDone };
  std::vector<State> state(Index(count), State::kNew);
  std::vector<int> path;
  std::vector<size_t> at;  // by depth: which successor comes next
  for (int root = 0; root < count; ++root) {
    if (state[Index(root)] != State::kNew) continue;
    path = {root};
    at = {0};
    state[Index(root)] = State::kOpen;
    while (!path.empty()) {
      const int at_last = path.back();
      if (at.back() == next[Index(at_last)].size()) {
        state[Index(at_last)] = State::kDone;
        path.pop_back();
        at.pop_back();
        continue;
      }
      const int to = next[Index(at_last)][at.back()++];
      if (state[Index(to)] == State::kOpen)
        return {std::find(path.begin(), path.end(), to), path.end()};
      if (state[Index(to)] == State::kDone) continue;
      state[Index(to)] = State::kOpen;
      path.push_back(to);
      at.push_back(0);
    }
  }
  return {};
}

}  // namespace evenkeel
