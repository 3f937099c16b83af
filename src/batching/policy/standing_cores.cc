#include "batching/policy/standing_cores.h"

#include <algorithm>
#include <cmath>

#include "batching/policy/core_shares.h"

namespace evenkeel::policy {
namespace {

constexpr Duration kLongestTurn = std::chrono::milliseconds(200);
constexpr double kWhole = 1e-9;  // below a whole number by rounding only

// What each claim is granted beside batches that want `batch_cores`.
std::vector<double> SharesOf(const StandingView& view, double batch_cores) {
  std::vector<CoreDemand> demands;
  demands.push_back({batch_cores, view.batch_weight, batch_cores});
  for (const StandingClaim& claim : view.claims) {
    const double most = claim.wants ? claim.most : 0;
    demands.push_back({most, claim.wants ? claim.weight : 0, most});
  }
  std::vector<double> shares;
  for (const CoreShare& share : ShareCores(demands, view.cores)) shares.push_back(share.granted);
  shares.erase(shares.begin());
  return shares;
}

double Sum(std::span<const double> values) {
  double sum = 0;
  for (const double value : values) sum += value;
  return sum;
}

int WholeCores(double cores) { return static_cast<int>(std::floor(cores + kWhole)); }

}  // namespace

std::vector<int> ShareWhole(std::span<const StandingClaim> claims, std::span<const double> lags,
                            int budget) {
  std::vector<int> given(claims.size(), 0);
  for (; budget > 0; --budget) {
    size_t next = claims.size();
    for (size_t i = 0; i < claims.size(); ++i) {
      if (!claims[i].wants || given[i] >= claims[i].most) continue;
      if (next == claims.size()) {
        next = i;
        continue;
      }
      const double mine = (given[i] + 1) / claims[i].weight;
      const double other = (given[next] + 1) / claims[next].weight;
      if (mine < other || (mine == other && lags[i] > lags[next])) next = i;
    }
    if (next == claims.size()) break;
    ++given[next];
  }
  return given;
}

// What has been had since the last call, beside what there should have been. `most`: core-seconds, either way.
void StandingCores::Count(const StandingView& view, double most, Time now) {
  const double passed = last_ == Time{} ? 0 : std::max(0.0, Seconds(now - last_));
  last_ = now;
  if (lags_.size() != view.claims.size()) {
    lags_.assign(view.claims.size(), 0);
    shares_.assign(view.claims.size(), 0);
    return;
  }
  for (size_t i = 0; i < lags_.size(); ++i) {
    const StandingClaim& claim = view.claims[i];
    if (!bound_ || !claim.wants) {
      lags_[i] = 0;
      continue;
    }
    lags_[i] = std::clamp(lags_[i] + (shares_[i] - claim.held) * passed, -most, most);
  }
}

bool StandingCores::TheirTurn(double ahead) {
  const double behind = Sum(lags_);
  if (turn_ && behind <= -ahead) turn_ = false;
  if (!turn_ && behind >= 0) turn_ = true;
  return turn_;
}

std::vector<int> StandingCores::Targets(const StandingView& view, Time now) {
  Duration step = kTurn;
  int wanting = 0, held = 1;
  for (const StandingClaim& claim : view.claims) {
    if (!claim.wants) continue;
    ++wanting;
    step = std::max(step, claim.step);
    held = std::max(held, claim.held);
  }
  const double ahead = Seconds(std::min(step, kLongestTurn)) * held;
  Count(view, 2 * ahead, now);  // a turn ends a step late
  const bool anew = view.pressed && !bound_;
  // Those that run still count when the next ones press.
  bound_ = view.pressed || view.batch_cores > 0 || wanting > view.cores;
  entitled_ = Sum(SharesOf(view, view.cores));
  shares_ = SharesOf(view, std::min(view.batch_cores, view.cores));
  const int whole = WholeCores(Sum(shares_));
  if (!view.pressed) {
    // While batches run the turn stays whose it is.
    turn_ = turn_ || !bound_;
    return ShareWhole(view.claims, lags_, std::clamp(whole, 1, view.cores));
  }
  bool less_than_one = false;
  for (size_t i = 0; i < shares_.size(); ++i)
    less_than_one = less_than_one || (view.claims[i].wants && shares_[i] < 1 - kWhole);
  if (!less_than_one && view.widest <= view.cores - whole)
    return ShareWhole(view.claims, lags_, whole);
  if (anew) {
    // Whoever had the cores until now is ahead.
    turn_ = false;
    for (size_t i = 0; i < lags_.size(); ++i) {
      if (view.claims[i].wants && view.claims[i].held > 0) lags_[i] = -ahead / 2;
    }
  }
  if (!TheirTurn(ahead)) return std::vector<int>(view.claims.size(), 0);
  return ShareWhole(view.claims, lags_, view.cores);
}

}  // namespace evenkeel::policy
