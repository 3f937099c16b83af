// Random numbers that are the same on every machine for the same seed.
//
// Contract: SplitMix64 (Steele, Lea, Flood 2014) under the exponential by inversion, the normal by Box and Muller's polar form
//   and the gamma by Marsaglia and Tsang (2000): nothing of the standard library's distributions, which differ.
// Thread-safety: single-owner.
#pragma once

#include <cmath>
#include <cstdint>

namespace evenkeel::sim {

class Random {
 public:
  explicit Random(uint64_t seed) : state_(seed) {}
  // A stream of its own for each `index`.
  Random(uint64_t seed, uint64_t index) : state_(seed) {
    state_ = Next() + index * 0xd1342543de82ef95ull;
    Next();
  }

  uint64_t Next() {
    uint64_t z = (state_ += 0x9e3779b97f4a7c15ull);
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ull;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebull;
    return z ^ (z >> 31);
  }
  double Uniform() { return static_cast<double>(Next() >> 11) * 0x1.0p-53; }  // [0, 1)
  double Exponential() { return -std::log(1 - Uniform()); }                   // mean 1
  double Normal() {                                                           // mean 0, deviation 1
    for (;;) {
      const double x = 2 * Uniform() - 1, y = 2 * Uniform() - 1, r = x * x + y * y;
      if (r > 0 && r < 1) return x * std::sqrt(-2 * std::log(r) / r);
    }
  }
  // Mean shape. REQUIRES: shape > 0.
  double Gamma(double shape) {
    if (shape < 1) return Gamma(shape + 1) * std::pow(1 - Uniform(), 1 / shape);
    const double d = shape - 1.0 / 3, c = 1 / std::sqrt(9 * d);
    for (;;) {
      const double x = Normal(), t = 1 + c * x, v = t * t * t;
      if (v > 0 && std::log(1 - Uniform()) < 0.5 * x * x + d - d * v + d * std::log(v))
        return d * v;
    }
  }

 private:
  uint64_t state_;
};

}  // namespace evenkeel::sim
