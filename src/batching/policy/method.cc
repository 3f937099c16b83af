// `method`: A10 to the letter, at will (the source knows no core gate).
//
// The class is fixed (A2): a model whose manifest leaves it open is a GPU-type task where it has an instance on an accelerator, once and
// for all, and no batch leaves its class. There Y is A6's: the largest of the sizes 1, 2, 4 ... max with T(n) <= O.
// On the processor Y is Y_batch of the row that was chosen from the model's load table. Until there is one, it is the batch size that A5's
// rule leaves on the instance's shape by live times: of the sizes 1, 2, 4 ... max the largest one (one shape: all are
// equally frequent) of at least 2 with T(n) / (n T(1)) <= 0.8, else 1, which means no batching. The interval is the traffic's at
// its finest level, which the owner derives from T(Y).
//   left  = the oldest waiting row
//   right = left + min(what waits + forecast of the next interval, Y) rows; at the latest the end of the interval that the
//           oldest row came in. Formed when the row at the left edge changes, moved when the forecast changes.
#include <algorithm>
#include <cmath>
#include <vector>

#include "batching/policy/gate.h"
#include "batching/policy/policies.h"

namespace evenkeel::policy {
namespace {

constexpr double kRatioThreshold = 0.8;  // A5's delta

int BestBatch(const BatchCurve& curve, int max_rows) {
  const double one = Seconds(curve.Mean(1));
  int best = 1;
  for (int n = 2; n <= max_rows; n *= 2) {
    if (Seconds(curve.Mean(n)) <= kRatioThreshold * n * one) best = n;
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

class Method final : public NodePolicy {
 public:
  Decision Decide(const NodeView& node, Time now) override {
    models_.resize(node.models.size());
    Decision waits;
    for (size_t m = 0; m < node.models.size(); ++m) {
      const ModelView& model = node.models[m];
      const int lane = NextLane(model);
      Window& window = models_[m];
      window.gpu = window.gpu || IsGpuType(model);
      const auto device = window.gpu ? DeviceClass::kGpu : DeviceClass::kCpu;
      const int instance = lane < 0 ? -1 : IdleInstance(model, device);
      if (instance < 0) continue;
      const LaneView& view = model.lanes[static_cast<size_t>(lane)];
      Move(model, view, now, &window);
      Decision decision;
      decision.rows = std::min<int64_t>(view.waiting_rows, window.best_batch);
      if (view.waiting_rows >= window.right_rows) {
        decision.reason = CloseReason::kFull;
      } else if (model.draining) {
        decision.reason = CloseReason::kDrain;
      } else if (now >= window.right) {
        decision.reason = CloseReason::kDeadline;
      } else {
        waits.wake_at = std::min(waits.wake_at, window.right);
        continue;
      }
      window.formed = false;
      decision.start = true;
      decision.model = static_cast<int>(m);
      decision.lane = lane;
      decision.instance = instance;
      return decision;
    }
    return waits;
  }

  std::string_view name() const override { return "method"; }
  void Forget(int index) override {
    if (index < static_cast<int>(models_.size())) models_[static_cast<size_t>(index)] = Window();
  }
  ModelOutlook Outlook(int index) const override {
    ModelOutlook outlook;
    if (index >= static_cast<int>(models_.size())) return outlook;
    const Window& window = models_[static_cast<size_t>(index)];
    outlook.knee = outlook.target = window.best_batch;
    outlook.right_rows = window.right_rows;
    outlook.left = window.left;
    outlook.right = window.right;
    return outlook;
  }

 private:
  struct Window {
    bool gpu = false;  // its class
    bool formed = false;
    int best_batch = 1;  // Y
    Time left{};
    double forecast = 0;  // that `right_rows` was made from
    int64_t right_rows = 1;
    Time right = kNever;
  };

  static bool IsGpuType(const ModelView& model) {
    if (model.device != DeviceClass::kAuto) return model.device == DeviceClass::kGpu;
    return std::ranges::any_of(model.instances, [](const InstanceView& instance) {
      return instance.device == DeviceClass::kGpu;
    });
  }

  static int BestOf(const ModelView& model, bool gpu, int max_rows) {
    if (!gpu && model.best_batch > 0) return std::min(model.best_batch, max_rows);
    const BatchCurve* curve = gpu ? model.device_curve : model.curve;
    if (curve == nullptr || curve->empty()) return 1;
    if (!gpu) return BestBatch(*curve, max_rows);
    return LargestWithin(*curve, std::min(max_rows, model.device_max_batch), model.objective);
  }

  static void Move(const ModelView& model, const LaneView& lane, Time now, Window* window) {
    model.traffic->AdvanceTo(now);
    const double forecast = model.traffic->NextItems(0);
    if (window->formed && window->left == lane.oldest_arrival && window->forecast == forecast)
      return;
    const Duration interval = model.traffic->counts().interval(0);
    const int best = BestOf(model, window->gpu, lane.max_rows);
    const int64_t intervals = lane.oldest_arrival.time_since_epoch() / interval;
    window->best_batch = best;
    window->formed = true;
    window->left = lane.oldest_arrival;
    window->forecast = forecast;
    window->right_rows =
        std::min<int64_t>(lane.waiting_rows + std::llround(std::min(forecast, 1e9)), best);
    window->right = Time(interval * (intervals + 1));
  }

  std::vector<Window> models_;
};

}  // namespace

std::unique_ptr<NodePolicy> MakeMethod() { return std::make_unique<Method>(); }

}  // namespace evenkeel::policy
