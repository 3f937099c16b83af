// The class behind `method`; method.cc says how it decides.
//
// Not for use outside method.cc and tests. Thread-safety: thread-compatible.
#pragma once

#include <cstdint>
#include <string_view>
#include <vector>

#include "batching/policy/node_policy.h"

namespace evenkeel::policy {

class MethodPolicy : public NodePolicy {
 public:
  // REQUIRES: 0 < ratio_threshold <= 1.
  explicit MethodPolicy(double ratio_threshold = kRatioThreshold);
  Decision Decide(const NodeView& node, Time now) override;
  std::string_view name() const override { return "method"; }
  void Forget(int index) override;
  ModelOutlook Outlook(int index) const override;

 protected:
  // Items that are expected in the next interval.
  virtual double ForecastOf(const ModelView& model) const;

 private:
  // Of one lane.
  struct Window {
    bool formed = false;
    int best_batch = 1;  // Y
    Time left{};
    double forecast = 0;  // that `right_rows` was made from
    int64_t right_rows = 1;
    Time right = kNever;   // the interval's end
    Time closes = kNever;  // `right`, or what the deadline leaves, as last decided
  };
  struct Model {
    bool gpu = false;  // its class
    int shown = 0;     // the lane that was looked at first
    std::vector<Window> lanes;
  };

  int BestOf(const ModelView& model, bool gpu, int max_rows) const;
  void Move(const ModelView& model, const LaneView& lane, bool gpu, Time now, Window* window) const;
  // Rows and reason of what is to be taken now; or until when the lane's rows wait, as wake_at.
  Decision Close(const ModelView& model, const LaneView& lane, bool gpu, Time now,
                 Window* window) const;

  const double ratio_threshold_;
  std::vector<Model> models_;
};

}  // namespace evenkeel::policy
