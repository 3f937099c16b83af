// Numbers that look random and are always the same: what the factorisations start from.
#pragma once

#include <cmath>

namespace evenkeel {

// In [-0.5, 0.5).
inline double Spread(int i, int j) {
  const double x = std::sin(12.9898 * (i + 1) + 78.233 * (j + 1)) * 43758.5453;
  return x - std::floor(x) - 0.5;
}

}  // namespace evenkeel
