// Finds a circle among things that need each other (B4).
//
// Thread-safety: pure.
#pragma once

#include <utility>
#include <vector>

namespace evenkeel {

// The members of a circle, in its order; empty: there is none. An edge leads from what goes first. REQUIRES: numbers from 0 to count - 1.
std::vector<int> FindCycle(int count, const std::vector<std::pair<int, int>>& edges);

}  // namespace evenkeel
