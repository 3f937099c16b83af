// `method`: A10 to the letter, at will (the source knows no core gate).
//
// The class is fixed (A2): a model whose manifest leaves it open is a GPU-type task where it has an instance on an accelerator, once and
// for all, and no batch leaves its class. There Y is A6's: the largest of the sizes 1, 2, 4 ... max with T(n) <= O.
// On the processor Y is Y_batch of the row that was chosen from the model's load table. Until there is one, it is the batch size that A5's
// rule leaves on the instance's shape by live times: of the sizes 1, 2, 4 ... max the largest one (one shape: all are
// equally frequent) of at least 2 with T(n) / (n T(1)) <= the ratio threshold, else 1, which means no batching. The interval is the
// traffic's at its finest level, which the owner derives from T(Y).
//   left  = the oldest waiting row
//   right = left + min(what waits + forecast of the next interval, Y) rows; at the latest the end of the interval that the
//           oldest row came in. Formed when the row at the left edge changes, moved when the forecast changes.
// No wait outlasts the deadline rule: with w rows waiting and D the lane's deadline (hold.h) the window closes at D - p99 T(min(Y, w + 1))
// whatever the bounds say. There is no wait for a core to be left time for.
// Rows of different shapes have windows of their own: while the first in line waits, the others are looked at.
#include <algorithm>
#include <cmath>
#include <memory>
#include <vector>

#include "batching/policy/gate.h"
#include "batching/policy/hold.h"
#include "batching/policy/method_policy.h"
#include "batching/policy/policies.h"
#include "core/check.h"

namespace evenkeel::policy {
namespace {

int BestBatch(const BatchCurve& curve, int max_rows, double ratio_threshold) {
  const double one = Seconds(curve.Mean(1));
  int best = 1;
  for (int n = 2; n <= max_rows; n *= 2) {
    if (Seconds(curve.Mean(n)) <= ratio_threshold * n * one) best = n;
  }
  return best;
}

// A6, with the objective as the threshold of a batch's latency; that its memory suffices is known: sizes beyond are not in use.
int LargestWithin(const BatchCurve& curve, int max_rows, Duration latency) {
  int best = 1;
  for (int n = 2; n <= max_rows; n *= 2) {
    if (curve.Mean(n) <= latency) best = n;
  }
  return best;
}

bool IsGpuType(const ModelView& model) {
  if (model.device != DeviceClass::kAuto) return model.device == DeviceClass::kGpu;
  return std::ranges::any_of(model.instances, [](const InstanceView& instance) {
    return instance.device == DeviceClass::kGpu;
  });
}

const BatchCurve* CurveOf(const ModelView& model, bool gpu) {
  const BatchCurve* curve = gpu ? model.device_curve : model.curve;
  return curve == nullptr || curve->empty() ? nullptr : curve;
}

}  // namespace

MethodPolicy::MethodPolicy(double ratio_threshold) : ratio_threshold_(ratio_threshold) {
  EK_CHECK(ratio_threshold > 0 && ratio_threshold <= 1);
}

Decision MethodPolicy::Decide(const NodeView& node, Time now) {
  models_.resize(node.models.size());
  Decision waits;
  for (size_t m = 0; m < node.models.size(); ++m) {
    const ModelView& view = node.models[m];
    Model& model = models_[m];
    model.gpu = model.gpu || IsGpuType(view);
    const int instance = IdleInstance(view, model.gpu ? DeviceClass::kGpu : DeviceClass::kCpu);
    const int first = instance < 0 ? -1 : NextLane(view);
    if (first < 0) continue;
    model.shown = first;
    model.lanes.resize(view.lanes.size());
    for (int turn = 0; turn < static_cast<int>(view.lanes.size()); ++turn) {
      // The first in line, then the others as they stand.
      const int lane = turn == 0 ? first : turn <= first ? turn - 1 : turn;
      const LaneView& rows = view.lanes[static_cast<size_t>(lane)];
      if (rows.waiting_rows <= 0) continue;
      Window& window = model.lanes[static_cast<size_t>(lane)];
      Decision decision = Close(view, rows, model.gpu, now, &window);
      waits.wake_at = std::min(waits.wake_at, decision.wake_at);
      if (decision.rows <= 0) continue;
      window.formed = false;
      decision.start = true;
      decision.model = static_cast<int>(m);
      decision.lane = lane;
      decision.instance = instance;
      return decision;
    }
  }
  return waits;
}

Decision MethodPolicy::Close(const ModelView& model, const LaneView& lane, bool gpu, Time now,
                             Window* window) const {
  Move(model, lane, gpu, now, window);
  const BatchCurve* curve = CurveOf(model, gpu);
  const int next = static_cast<int>(std::min<int64_t>(window->best_batch, lane.waiting_rows + 1));
  const Duration takes = curve == nullptr ? Duration() : curve->P99(next);
  window->closes = std::min(window->right, SoftDeadline(lane, model.objective) - takes);
  Decision decision;
  if (lane.waiting_rows >= window->right_rows) {
    decision.reason = CloseReason::kFull;
  } else if (model.draining) {
    decision.reason = CloseReason::kDrain;
  } else if (now >= window->closes) {
    decision.reason = CloseReason::kDeadline;
  } else {
    decision.wake_at = window->closes;
    return decision;
  }
  decision.rows = std::min<int64_t>(lane.waiting_rows, std::min(window->best_batch, lane.max_rows));
  return decision;
}

int MethodPolicy::BestOf(const ModelView& model, bool gpu, int max_rows) const {
  if (!gpu && model.best_batch > 0) return std::min(model.best_batch, max_rows);
  const BatchCurve* curve = CurveOf(model, gpu);
  if (curve == nullptr) return 1;
  if (!gpu) return BestBatch(*curve, max_rows, ratio_threshold_);
  return LargestWithin(*curve, std::min(max_rows, model.device_max_batch), model.objective);
}

void MethodPolicy::Move(const ModelView& model, const LaneView& lane, bool gpu, Time now,
                        Window* window) const {
  if (model.traffic == nullptr) {  // nothing is forecast: the window ends with what waits
    window->best_batch = BestOf(model, gpu, lane.max_rows);
    window->formed = true;
    window->left = lane.oldest_arrival;
    window->forecast = 0;
    window->right_rows = std::min<int64_t>(lane.waiting_rows, window->best_batch);
    window->right = now;
    return;
  }
  model.traffic->AdvanceTo(now);
  const double forecast = ForecastOf(model);
  if (window->formed && window->left == lane.oldest_arrival && window->forecast == forecast) return;
  const Duration interval = model.traffic->counts().interval(0);
  const int64_t intervals = lane.oldest_arrival.time_since_epoch() / interval;
  window->best_batch = BestOf(model, gpu, lane.max_rows);
  window->formed = true;
  window->left = lane.oldest_arrival;
  window->forecast = forecast;
  window->right_rows = std::min<int64_t>(lane.waiting_rows + std::llround(std::min(forecast, 1e9)),
                                         window->best_batch);
  window->right = Time(interval * (intervals + 1));
}

double MethodPolicy::ForecastOf(const ModelView& model) const {
  return model.traffic->NextItems(0);
}

void MethodPolicy::Forget(int index) {
  if (index < static_cast<int>(models_.size())) models_[static_cast<size_t>(index)] = Model();
}

ModelOutlook MethodPolicy::Outlook(int index) const {
  ModelOutlook outlook;
  if (index >= static_cast<int>(models_.size())) return outlook;
  const Model& model = models_[static_cast<size_t>(index)];
  const auto shown = static_cast<size_t>(model.shown);
  const Window window = shown < model.lanes.size() ? model.lanes[shown] : Window();
  outlook.knee = outlook.target = window.best_batch;
  outlook.right_rows = window.right_rows;
  outlook.left = window.left;
  outlook.right = window.closes;
  return outlook;
}

std::unique_ptr<NodePolicy> MakeMethod(const PolicySettings& settings) {
  return std::make_unique<MethodPolicy>(settings.ratio_threshold);
}

}  // namespace evenkeel::policy
