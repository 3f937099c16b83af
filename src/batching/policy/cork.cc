// `cork`: the adaptive batching rule that BentoML publishes (CorkDispatcher), for comparison. At will.
//
// T(n) is taken as a n + b, fitted by least squares. With n rows waiting, the newest for w_n, and W the mean wait of the oldest row of the
// last 50 batches, it waits one tick (1 ms) more while
//   n < max and n (w_n + tick + a) <= 0.95 W,
// and else runs all that waits. a, b and W are renewed every 5 s; W starts at 10 ms. Source: BentoML 1.0,
// _internal/marshal/dispatcher.py. Differs: rows leave in order of arrival; nothing is cancelled here (the owner expires
// deadlines); the line is fitted through the curve's sizes instead of the last 50 batches.
#include <algorithm>
#include <chrono>
#include <vector>

#include "batching/policy/gate.h"
#include "batching/policy/policies.h"

namespace evenkeel::policy {
namespace {

using namespace std::chrono_literals;

constexpr Duration kTick = 1ms;
constexpr Duration kRenew = 5s;
constexpr double kDecay = 0.95;
constexpr double kFirstWait = 0.01;
constexpr size_t kKept = 50;

class Cork final : public NodePolicy {
 public:
  Decision Decide(const NodeView& node, Time now) override {
    models_.resize(node.models.size());
    Decision waits;
    for (size_t m = 0; m < node.models.size(); ++m) {
      const ModelView& model = node.models[m];
      const int lane = NextLane(model);
      const int instance = lane < 0 ? -1 : IdleInstance(model);
      if (instance < 0) continue;
      const LaneView& view = model.lanes[static_cast<size_t>(lane)];
      State& state = models_[m];
      if (now >= state.renew_at) Renew(model, now, &state);
      const auto n = static_cast<double>(view.waiting_rows);
      const double newest = Seconds(now - view.newest_arrival);
      const bool full = view.waiting_rows >= view.max_rows;
      if (!full && !model.draining &&
          n * (newest + Seconds(kTick) + state.slope) <= kDecay * state.wait) {
        waits.wake_at = std::min(waits.wake_at, now + kTick);
        continue;
      }
      state.waits.push_back(Seconds(now - view.oldest_arrival));
      if (state.waits.size() > kKept) state.waits.erase(state.waits.begin());
      Decision decision;
      decision.start = true;
      decision.model = static_cast<int>(m);
      decision.lane = lane;
      decision.instance = instance;
      decision.rows = std::min<int64_t>(view.waiting_rows, view.max_rows);
      decision.reason = full ? CloseReason::kFull : CloseReason::kWorth;
      return decision;
    }
    return waits;
  }
  std::string_view name() const override { return "cork"; }
  void Forget(int index) override {
    if (index < static_cast<int>(models_.size())) models_[static_cast<size_t>(index)] = State();
  }

 private:
  struct State {
    double slope = 0;           // a, seconds
    double wait = kFirstWait;   // W, seconds
    std::vector<double> waits;  // of the oldest row of the last batches
    Time renew_at{};
  };

  static void Renew(const ModelView& model, Time now, State* state) {
    state->renew_at = now + kRenew;
    if (!state->waits.empty()) {
      double sum = 0;
      for (const double wait : state->waits) sum += wait;
      state->wait = sum / static_cast<double>(state->waits.size());
    }
    const BatchCurve* curve = KnownCurve(model);
    if (curve == nullptr || curve->points().size() < 2) return;
    double n = 0, x = 0, y = 0, xx = 0, xy = 0;
    for (const BatchCurve::Point& point : curve->points()) {
      const double rows = point.rows, t = point.mean_ns * 1e-9;
      n += 1;
      x += rows;
      y += t;
      xx += rows * rows;
      xy += rows * t;
    }
    state->slope = std::max(1e-6, (n * xy - x * y) / (n * xx - x * x));
  }

  std::vector<State> models_;
};

}  // namespace

std::unique_ptr<NodePolicy> MakeCork() { return std::make_unique<Cork>(); }

}  // namespace evenkeel::policy
