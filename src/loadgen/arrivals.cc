#include "loadgen/arrivals.h"

#include <cmath>

#include "core/check.h"

namespace evenkeel::loadgen {
namespace {

Duration FromSeconds(double s) { return Duration(static_cast<int64_t>(s * 1e9)); }

class Poisson final : public Arrivals {
 public:
  Poisson(double rate_rps, uint64_t seed) : mean_gap_s_(1 / rate_rps), rng_(seed) {}
  std::optional<Duration> Next() override {
    at_s_ += -std::log(1 - rng_.Uniform()) * mean_gap_s_;
    return FromSeconds(at_s_);
  }

 private:
  double mean_gap_s_;
  Rng rng_;
  double at_s_ = 0;
};

class Constant final : public Arrivals {
 public:
  Constant(double rate_rps, Part part)
      : rate_rps_(rate_rps), next_(part.index), step_(part.count) {}
  std::optional<Duration> Next() override {
    // Computed from the index, not summed, so that rounding never drifts.
    const double at_s = static_cast<double>(next_) / rate_rps_;
    next_ += step_;
    return FromSeconds(at_s);
  }

 private:
  double rate_rps_;
  int64_t next_;
  int step_;
};

class Trace final : public Arrivals {
 public:
  Trace(std::shared_ptr<const std::vector<double>> times_s, Part part)
      : times_s_(std::move(times_s)),
        next_(static_cast<size_t>(part.index)),
        step_(static_cast<size_t>(part.count)) {}
  std::optional<Duration> Next() override {
    if (next_ >= times_s_->size()) return std::nullopt;
    const double at_s = (*times_s_)[next_];
    next_ += step_;
    return FromSeconds(at_s);
  }

 private:
  std::shared_ptr<const std::vector<double>> times_s_;
  size_t next_;
  size_t step_;
};

}  // namespace

std::unique_ptr<Arrivals> PoissonArrivals(double rate_rps, uint64_t seed, Part part) {
  EK_CHECK(rate_rps > 0 && std::isfinite(rate_rps));
  return std::make_unique<Poisson>(rate_rps / part.count,
                                   seed * 1'000'003 + static_cast<uint64_t>(part.index));
}

std::unique_ptr<Arrivals> ConstantArrivals(double rate_rps, Part part) {
  EK_CHECK(rate_rps > 0 && std::isfinite(rate_rps));
  return std::make_unique<Constant>(rate_rps, part);
}

std::unique_ptr<Arrivals> TraceArrivals(std::shared_ptr<const std::vector<double>> times_s,
                                        Part part) {
  return std::make_unique<Trace>(std::move(times_s), part);
}

std::vector<double> ScaleTrace(std::vector<double> times_s, double speed) {
  EK_CHECK(speed > 0);
  if (times_s.empty()) return times_s;
  const double first = times_s.front();
  for (double& t : times_s) t = (t - first) / speed;
  return times_s;
}

double MeanRate(const std::vector<double>& times_s) {
  if (times_s.size() < 2 || times_s.back() <= times_s.front()) return 0;
  return static_cast<double>(times_s.size() - 1) / (times_s.back() - times_s.front());
}

// The seed is spread by splitmix64's finaliser, so that seeds 1, 2, 3 give unrelated streams, and
// is never 0.
Rng::Rng(uint64_t seed) {
  uint64_t z = seed + 0x9e3779b97f4a7c15ull;
  z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ull;
  z = (z ^ (z >> 27)) * 0x94d049bb133111ebull;
  state_ = (z ^ (z >> 31)) | 1;
}

uint64_t Rng::Next() {
  state_ ^= state_ >> 12;
  state_ ^= state_ << 25;
  state_ ^= state_ >> 27;
  return state_ * 0x2545f4914f6cdd1dull;
}

double Rng::Uniform() { return static_cast<double>(Next() >> 11) * 0x1.0p-53; }

uint64_t Rng::Below(uint64_t limit) {
  // Multiply-shift: the bias of 2^-64 * limit is far below what a load could show.
  return static_cast<uint64_t>((static_cast<unsigned __int128>(Next()) * limit) >> 64);
}

}  // namespace evenkeel::loadgen
