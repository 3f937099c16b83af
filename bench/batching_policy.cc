// What the batching policies cost the daemon: a decision, an arrival, the twice-a-second refresh, and the simulator's speed.
//
//   batching_policy [--benchmark_format=json] [--benchmark_filter=...]     (Google Benchmark)
// Targets (issue 4): gate and window decision with 1,000 rows waiting in 10 models at most 2 us, also on its dearest path (DecideHeld); forecast
// update at most 1 us; at most 1 MiB a model; the simulator at least 300,000 requests a second of wall time.
#include <benchmark/benchmark.h>
#include <malloc.h>

#include <algorithm>
#include <deque>
#include <memory>
#include <string>
#include <vector>

#include "batching/policy/forecast_selector.h"
#include "batching/policy/node_policy.h"
#include "sim/simulation.h"

namespace {

using namespace evenkeel;
using namespace std::chrono_literals;

constexpr int kModels = 10;
const Time kStart = Time(100s);

// Ten models, 100 rows waiting in each, every instance idle but for `busy` of them.
struct Node {
  explicit Node(int busy) {
    for (int i = 0; i < kModels; ++i) {
      curves.emplace_back();
      for (int n = 1; n <= 64; ++n) curves.back().Set(n, 100us + n * 20us, 120us + n * 24us);
      traffic.push_back(std::make_unique<policy::Traffic>(kStart, 1ms));
      policy::LaneView lane;
      lane.waiting_rows = 100;
      lane.oldest_arrival = lane.newest_arrival = kStart - i * 1ms;
      lanes.push_back(lane);
      policy::InstanceView instance;
      instance.in_flight = i < busy ? 1 : 0;
      instances.push_back(instance);
    }
    for (size_t i = 0; i < kModels; ++i) {
      policy::ModelView view;
      view.lanes = {&lanes[i], 1};
      view.instances = {&instances[i], 1};
      view.curve = &curves[i];
      view.traffic = traffic[i].get();
      view.objective = 50ms;
      views.push_back(view);
    }
    node.models = views;
    node.cores = 2;
  }
  std::deque<policy::BatchCurve> curves;
  std::vector<std::unique_ptr<policy::Traffic>> traffic;
  std::vector<policy::LaneView> lanes;
  std::vector<policy::InstanceView> instances;
  std::vector<policy::ModelView> views;
  policy::NodeView node;
};

void Decide(benchmark::State& state, const std::string& name) {
  Node node(1);
  auto made = policy::MakeNodePolicy(name);
  auto policy = std::move(*made);
  Time now = kStart;
  policy->Decide(node.node, now);
  for (auto _ : state) benchmark::DoNotOptimize(policy->Decide(node.node, now += 10ns));
}

// The dearest decisions: arrivals in between, so that rates are known and the guard's shadows have something to do; a price above 0, since
// the models together want ten times the cores row by row; and in each of the ten models 100 rows that wait for more, so that every hold is
// worked out and none is over. Times an arrival and the decision after it, the refresh twice a second included. Counter `held`: the share
// of decisions in which all ten waited.
class HeldNode {
 public:
  HeldNode() : node_(0) {
    for (size_t i = 0; i < kModels; ++i) {
      node_.curves[i] = policy::BatchCurve();
      for (int n = 0; n <= kMost; n += kMost / (policy::BatchCurve::kMaxSizes - 1)) {
        const int rows = std::max(1, n);
        const Duration mean = kFixed + rows * kPerRow;
        node_.curves[i].Set(rows, mean, mean * 6 / 5);
      }
      node_.lanes[i].max_rows = node_.views[i].max_batch = kMost;
    }
  }
  // An arrival of the next model.
  void Arrive() {
    now_ += kGap;
    node_.traffic[next_]->OnArrival(1, now_);
    // Its oldest row is as old as it takes 100 to come.
    node_.lanes[next_].newest_arrival = now_;
    node_.lanes[next_].oldest_arrival = now_ - kModels * 100 * kGap;
    next_ = (next_ + 1) % kModels;
  }
  policy::Decision Decide(policy::NodePolicy& policy) { return policy.Decide(node_.node, now_); }

 private:
  static constexpr int kMost = 504;  // rows of a batch
  static constexpr Duration kFixed = 2ms, kPerRow = 20us;
  static constexpr Duration kGap = 16'666ns;  // 6,000 rows a second in each model

  Node node_;
  Time now_ = kStart;
  size_t next_ = 0;
};

void DecideHeld(benchmark::State& state, const std::string& name) {
  HeldNode node;
  auto made = policy::MakeNodePolicy(name);
  auto policy = std::move(*made);
  for (int i = 0; i < 200'000; ++i) {  // some seconds, for forecasts and prices
    node.Arrive();
    node.Decide(*policy);
  }
  int64_t held = 0;
  for (auto _ : state) {
    node.Arrive();
    const policy::Decision decision = node.Decide(*policy);
    held += !decision.start && decision.wake_at != kNever;
  }
  const double share = static_cast<double>(held) / static_cast<double>(state.iterations());
  state.counters["held"] = share;
  if (name == "auto" && share < 0.95)
    state.SkipWithError("holds were over: not what is to be timed");
}

// With the refresh of prices and targets in every call: the worst single call.
void DecideAndRefresh(benchmark::State& state) {
  Node node(1);
  auto made = policy::MakeNodePolicy("auto");
  auto policy = std::move(*made);
  Time now = kStart;
  for (auto _ : state) benchmark::DoNotOptimize(policy->Decide(node.node, now += 1s));
}

void ForecastUpdate(benchmark::State& state) {
  policy::ForecastSelector selector;
  double value = 0;
  for (auto _ : state) {
    selector.Update(value);
    value = value < 900 ? value + 7 : 3;
    benchmark::DoNotOptimize(selector.Next());
  }
}

// Arrivals 20 us apart, intervals of 1 ms: the closing of intervals and its forecasts are in it.
void Arrival(benchmark::State& state) {
  policy::Traffic traffic(kStart, 1ms);
  Time now = kStart;
  for (auto _ : state) traffic.OnArrival(1, now += 20us);
}

void Simulate(benchmark::State& state) {
  sim::SimModel model;
  policy::BatchCurve curve;
  for (int n = 1; n <= 64; n *= 2) curve.Set(n, 140us + n * 13us, 160us + n * 15us);
  model.service = sim::ServiceTimes(curve, true);
  model.objective = 20ms;
  std::vector<sim::SimModel> models(3, model);
  for (size_t i = 0; i < models.size(); ++i) {
    models[i].name = std::string(1, static_cast<char>('a' + i));
    models[i].arrivals = *sim::ParseArrivals(
        "poisson:8000", [](const std::string&) { return Result<std::string>(std::string()); });
  }
  sim::SimOptions options;
  options.length = 5s;
  uint64_t requests = 0;
  for (auto _ : state) {
    auto made = policy::MakeNodePolicy("auto");
    auto policy = std::move(*made);
    requests += sim::Simulate(models, *policy, options).requests;
  }
  state.counters["requests_per_second"] =
      benchmark::Counter(static_cast<double>(requests), benchmark::Counter::kIsRate);
}

// What the policy and the forecasts hold for a model after ten minutes of arrivals: counter `bytes_per_model`.
void Memory(benchmark::State& state) {
  size_t bytes = 0;
  for (auto _ : state) {
    const size_t before = mallinfo2().uordblks;
    auto node = std::make_unique<Node>(1);
    auto made = policy::MakeNodePolicy("auto");
    auto policy = std::move(*made);
    for (Time now = kStart; now < kStart + 600s; now += 100ms) {
      for (const auto& traffic : node->traffic) traffic->OnArrival(1, now);
      policy->Decide(node->node, now);
    }
    bytes = mallinfo2().uordblks - before;
  }
  state.counters["bytes_per_model"] = static_cast<double>(bytes) / kModels;
}

BENCHMARK_CAPTURE(Decide, auto, std::string("auto"));
BENCHMARK_CAPTURE(Decide, gated_greedy, std::string("gated-greedy"));
BENCHMARK_CAPTURE(Decide, method, std::string("method"));
BENCHMARK_CAPTURE(DecideHeld, auto, std::string("auto"));
BENCHMARK_CAPTURE(DecideHeld, method, std::string("method"));
BENCHMARK(DecideAndRefresh);
BENCHMARK(ForecastUpdate);
BENCHMARK(Arrival);
BENCHMARK(Memory)->Iterations(1)->Unit(benchmark::kMillisecond);
BENCHMARK(Simulate)->Unit(benchmark::kMillisecond)->UseRealTime();

static_assert(sizeof(policy::BatchCurve) <= 2048, "a copy of T(n) is cheap");

}  // namespace

BENCHMARK_MAIN();
