// A node that a test puts together: models of one instance with T(n) = a + c n, and what waits for them.
//
// Thread-safety: thread-compatible.
#pragma once

#include <gtest/gtest.h>

#include <deque>
#include <memory>
#include <string_view>
#include <utility>
#include <vector>

#include "batching/policy/node_policy.h"

namespace evenkeel::policy {

inline const Time kStart = Time(std::chrono::seconds(10));

// Views point into it.
struct Node {
  struct Model {
    std::vector<LaneView> lanes;
    std::vector<InstanceView> instances;
    BatchCurve curve, device_curve;
    Traffic traffic{kStart};
    std::vector<Time> later;
  };
  std::deque<Model> models;
  std::vector<ModelView> views;
  NodeView view;

  // T(n) = a + c n. One instance.
  Model& Add(Duration a, Duration c, Duration objective) {
    Model& model = models.emplace_back();
    for (int n = 1; n <= 64; n *= 2) model.curve.Set(n, a + n * c, a + n * c);
    model.instances.emplace_back();
    model.lanes.emplace_back();
    ModelView mv;
    mv.curve = &model.curve;
    mv.device_curve = &model.device_curve;
    mv.traffic = &model.traffic;
    mv.objective = objective;
    views.push_back(mv);
    return model;
  }
  // Instances on an accelerator, T(n) = a + c n there.
  void AddOnDevice(Model& model, int count, Duration a, Duration c) {
    for (int n = 1; n <= 64; n *= 2) model.device_curve.Set(n, a + n * c, a + n * c);
    for (int i = 0; i < count; ++i) {
      model.instances.push_back({.threads = 0, .device = DeviceClass::kGpu});
    }
  }
  void Wait(size_t model, int64_t rows, Time oldest) {
    LaneView& lane = models[model].lanes.front();
    lane.waiting_rows = rows;
    lane.oldest_arrival = lane.newest_arrival = oldest;
  }
  const NodeView& View(int cores) {
    for (size_t i = 0; i < models.size(); ++i) {
      views[i].lanes = models[i].lanes;
      views[i].instances = models[i].instances;
      views[i].later_arrivals = models[i].later;
    }
    view.models = views;
    view.cores = cores;
    return view;
  }
};

inline std::unique_ptr<NodePolicy> Make(std::string_view name,
                                        const PolicySettings& settings = {}) {
  auto policy = MakeNodePolicy(name, settings);
  EXPECT_TRUE(policy.ok());
  return std::move(*policy);
}

}  // namespace evenkeel::policy
