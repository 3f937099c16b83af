// No window holds an item past its slack (A10): properties over all policies that wait.
//
// `cork` is left out: it is another's rule, played as it is published, and that knows no deadline. `none`, `greedy` and `gated-greedy`
// never hold anything back.
#include <gtest/gtest.h>
#include <rapidcheck/gtest.h>

#include <algorithm>
#include <string>
#include <vector>

#include "batching/policy/fake_node.h"
#include "batching/policy/gate.h"
#include "batching/policy/hold.h"

namespace evenkeel::policy {
namespace {

using namespace std::chrono_literals;

struct Waiting {
  const char* policy;
  bool save_power;
  double price;  // of `auto`
};

class Slack : public testing::TestWithParam<Waiting> {};

// When the lane's rows have to run at the latest for the first of them to be in time, 99 times of 100.
Time LatestStart(std::string_view policy, const ModelView& model, const LaneView& lane) {
  // `fixed` waits for as long as it is told: only a deadline ends that.
  const Time deadline =
      policy == "fixed" ? lane.earliest_deadline : SoftDeadline(lane, model.objective);
  if (deadline == kNever) return kNever;
  return deadline -
         model.curve->P99(static_cast<int>(std::min<int64_t>(lane.waiting_rows, lane.max_rows)));
}

void AddModel(Node* node) {
  const Duration a = *rc::gen::inRange(1, 3000) * 1us, c = *rc::gen::inRange(1, 500) * 1us;
  auto& model = node->Add(a, c, *rc::gen::inRange(5, 100) * 1ms);
  const int scatter = *rc::gen::inRange(100, 400);  // p99 over mean, per cent
  for (int n = 1; n <= 64; n *= 2) model.curve.Set(n, a + n * c, (a + n * c) * scatter / 100);
  model.lanes.resize(static_cast<size_t>(*rc::gen::inRange(1, 3)));
  for (LaneView& lane : model.lanes) lane.max_rows = *rc::gen::inRange(1, 65);
  model.instances.resize(static_cast<size_t>(*rc::gen::inRange(1, 3)));
  model.traffic.SetBatchTime(*rc::gen::inRange(1, 40) * 1ms, kStart);
  node->views.back().max_delay = *rc::gen::inRange(0, 200) * 1ms;
}

// Rows come at a rate that the forecasters can learn, some of them with deadlines.
void Arrive(Node::Model* model, Time now) {
  const int rows = *rc::gen::inRange(1, 5);
  model->traffic.OnArrival(rows, now);
  LaneView& lane = model->lanes[static_cast<size_t>(
      *rc::gen::inRange<int>(0, static_cast<int>(model->lanes.size())))];
  if (lane.waiting_rows == 0) {
    lane.oldest_arrival = now;
    lane.earliest_deadline = kNever;
  }
  lane.newest_arrival = now;
  lane.waiting_rows += rows;
  if (*rc::gen::arbitrary<bool>())
    lane.earliest_deadline =
        std::min(lane.earliest_deadline, now + *rc::gen::inRange(1, 60'000) * 1us);
}

// Lets the policy start what it likes; when it wants to be asked again.
Time StartAll(NodePolicy* policy, Node* node, const NodeView& view, Time now) {
  for (;;) {
    const Decision d = policy->Decide(view, now);
    if (!d.start) return d.wake_at;
    auto& model = node->models.at(static_cast<size_t>(d.model));
    model.lanes.at(static_cast<size_t>(d.lane)).waiting_rows -= d.rows;
    InstanceView& instance = model.instances.at(static_cast<size_t>(d.instance));
    instance.in_flight = 1;
    instance.busy_until = now + model.curve.P99(static_cast<int>(d.rows));
  }
}

// What `oracle` believes is to come.
void Promise(Node* node, Time now, Duration gap) {
  for (auto& model : node->models) {
    model.later.clear();
    for (int i = 1; i <= 8; ++i) model.later.push_back(now + i * gap);
  }
}

bool Gated(std::string_view policy) { return policy != "method" && policy != "fixed"; }

// The lanes that wait although an instance could start them, and cores are free.
int64_t CountHeld(std::string_view policy, const NodeView& view, Time now, Time wake) {
  if (Gated(policy) && ThreadsInUse(view) >= view.cores) return 0;
  int64_t held = 0;
  for (const ModelView& model : view.models) {
    if (IdleInstance(model) < 0) continue;
    for (const LaneView& lane : model.lanes) {
      if (lane.waiting_rows <= 0) continue;
      const Time latest = LatestStart(policy, model, lane);
      RC_ASSERT(now < latest);
      RC_ASSERT(latest == kNever || wake <= latest);
      ++held;
    }
  }
  return held;
}

int64_t Play(const Waiting& waiting) {
  const auto policy = Make(waiting.policy, {.price = waiting.price});
  Node node;
  for (int i = *rc::gen::inRange(1, 4); i > 0; --i) AddModel(&node);
  node.view.save_power = waiting.save_power;
  const int cores = *rc::gen::inRange(1, 4);
  const Duration gap = *rc::gen::inRange(10, 3000) * 1us;
  Time now = kStart, wake = kNever;
  int64_t held = 0;
  for (int step = 0; step < 200; ++step) {
    now = std::min(wake, now + *rc::gen::inRange(0, 200) * gap / 100);
    const auto m =
        static_cast<size_t>(*rc::gen::inRange<int>(0, static_cast<int>(node.models.size())));
    if (now != wake) Arrive(&node.models[m], now);
    for (auto& model : node.models) {
      for (InstanceView& instance : model.instances) {
        if (instance.busy_until <= now) instance.in_flight = 0;
      }
    }
    Promise(&node, now, gap);
    const NodeView& view = node.View(cores);
    wake = StartAll(policy.get(), &node, view, now);
    held += CountHeld(waiting.policy, view, now, wake);
  }
  return held;
}

TEST_P(Slack, NoWindowHoldsARowPastIt) {
  int64_t held = 0;
  EXPECT_TRUE(rc::check([&held] { held += Play(GetParam()); }));
  EXPECT_GT(held, 100);  // or nothing was tried
}

INSTANTIATE_TEST_SUITE_P(Policies, Slack,
                         testing::Values(Waiting{"auto", false, 1000}, Waiting{"auto", true, 1e6},
                                         Waiting{"oracle", true, 0}, Waiting{"method", false, 0},
                                         Waiting{"fixed", false, 0}),
                         [](const auto& one) {
                           return std::string(one.param.policy) +
                                  (one.param.save_power ? "Saving" : "");
                         });

}  // namespace
}  // namespace evenkeel::policy
