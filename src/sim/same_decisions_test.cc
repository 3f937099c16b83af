// One trace, played through the daemon's dispatchers and node scheduler and through the simulator, gives the same batches: the same
// models, rows and reasons at the same nanoseconds.
//
// Differences by design, and how they are accounted for here:
//   - The daemon asks its policy also while models load. Here both sides get a fresh policy when the models are warm.
//   - The daemon pads a batch to a warm size, and fills the padding with rows that wait. Here every size is warm.
//   - While a model is alone, the daemon may have a full batch lie ready behind the one that runs; the simulator has no such thing. Here
//     a third member of the node always has something waiting and nothing to run it on, so that no model is alone.
//   - A dispatcher applies a model's own rule (`fixed`) itself, and a full batch lies ready behind the one that runs, whoever else
//     works: it has the same rows as the one that the simulator starts when that ends, which is also when it comes to run.
//   - Scatter of service times, expiry, and refusals: the table has no scatter, and neither side refuses anything at this load.
#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <deque>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "batching/dispatcher.h"
#include "batching/fake_channel.h"
#include "batching/node_scheduler.h"
#include "core/fake_event_loop.h"
#include "core/format.h"
#include "sim/simulation.h"

namespace evenkeel::sim {
namespace {

using namespace std::chrono_literals;

constexpr int kMaxBatch = 32;
constexpr int kCores = 2;

struct Batch {
  Time at{};
  int model = 0;
  int64_t rows = 0;
  CloseReason reason = CloseReason::kIdle;
  bool operator==(const Batch&) const = default;
};

std::string ToString(const Batch& b) {
  return fmt::format("{} ns: model {}, {} rows, {}", b.at.time_since_epoch().count(), b.model,
                     b.rows, NameOf(b.reason));
}

// Hands everything on, and keeps what was started. Answers nothing before Begin(), which takes a fresh policy.
class Recorder final : public policy::NodePolicy {
 public:
  explicit Recorder(std::string_view name) : name_(name) {}
  void Begin() { inner_ = std::move(policy::MakeNodePolicy(name_)).value(); }
  policy::Decision Decide(const policy::NodeView& node, Time now) override {
    if (!inner_) return {};
    const policy::Decision decision = inner_->Decide(node, now);
    if (decision.start) started.push_back({now, decision.model, decision.rows, decision.reason});
    return decision;
  }
  std::string_view name() const override { return name_; }
  void Forget(int index) override {
    if (inner_) inner_->Forget(index);
  }
  policy::ModelOutlook Outlook(int index) const override {
    return inner_ ? inner_->Outlook(index) : policy::ModelOutlook();
  }

  std::vector<Batch> started;

 private:
  std::string name_;
  std::unique_ptr<policy::NodePolicy> inner_;
};

struct TestModel {
  Duration fixed, per_row, objective;
  std::string recorded;  // trace file: seconds, one a line
  int best_batch = 0;    // Y_batch of its load table; 0: it has none
  BatchingConfig batching = {};
  int rows = 1;  // of a request
};

// T(n) = fixed + n x per_row, at every size.
ServiceTimes TableOf(const TestModel& model) {
  policy::BatchCurve curve;
  for (int n = 1; n <= kMaxBatch; ++n) {
    const Duration t = model.fixed + n * model.per_row;
    curve.Set(n, t, t);
  }
  return ServiceTimes(curve, /*noise=*/false);
}

std::shared_ptr<const ArrivalProcess> ArrivalsOf(const TestModel& model) {
  return ParseArrivals("trace:recorded",
                       [&](const std::string&) { return Result<std::string>(model.recorded); })
      .value();
}

int MaxBatch(const TestModel& model) {
  return model.batching.max_batch > 0 ? model.batching.max_batch : kMaxBatch;
}

std::vector<SimModel> SimModels(const std::vector<TestModel>& models, int threads) {
  std::vector<SimModel> all;
  for (const TestModel& model : models) {
    SimModel& one = all.emplace_back();
    one.name = fmt::format("m{}", all.size());
    one.service = TableOf(model);
    one.arrivals = ArrivalsOf(model);
    one.objective = model.objective;
    one.threads = threads;
    one.max_batch = MaxBatch(model);
    one.rows = model.rows;
    one.best_batch = model.best_batch;
    one.max_delay = model.batching.max_delay;
    one.preferred_sizes = model.batching.preferred_sizes;
  }
  return all;
}

struct Call final : InferCall {
  explicit Call(int rows) : values(static_cast<size_t>(rows), 1.0F) {
    inputs.push_back({0, DataType::kFp32, Shape{rows, 1}, std::as_bytes(std::span(values))});
  }
  void Done(const Status& s, std::span<const TensorView>, const Timings&) override {
    status = s;
    answered = true;
  }
  std::vector<float> values;
  bool answered = false;
  Status status;
};

// Always has a row waiting, and no instance.
class Waiter final : public NodeScheduler::Member {
 public:
  explicit Waiter(NodeScheduler& node) : node_(node), id_(node.Join(this)) {
    node_.Publish(id_, [](NodeScheduler::Snapshot& snapshot) {
      snapshot.lanes.emplace_back().waiting_rows = 1;
    });
  }
  ~Waiter() override { node_.Leave(id_); }
  void StartBatch(const NodeScheduler::Start&) override { ADD_FAILURE() << "it has no instance"; }

 private:
  NodeScheduler& node_;
  int id_;
};

// Dispatchers of one worker each on one node, at time 0 on.
class Daemon {
 public:
  Daemon(const std::vector<TestModel>& models, std::string_view policy, int threads,
         bool save_power = false) {
    clock_.Advance(Time{} - clock_.Now());
    auto recorder = std::make_unique<Recorder>(policy);
    recorder_ = recorder.get();
    node_ = std::make_unique<NodeScheduler>(std::move(recorder), kCores, save_power, loop_, clock_);
    for (const TestModel& model : models) Load(model, threads);
    waiter_ = std::make_unique<Waiter>(*node_);
    recorder_->Begin();
  }
  ~Daemon() {
    for (const auto& model : models_) {
      bool drained = false;
      model->dispatcher->Drain([&drained] { drained = true; });
      loop_.RunPosted();
      EXPECT_TRUE(drained);
      model->dispatcher->Detach(0);
    }
  }

  // Plays the traces to the last answer.
  void Play() {
    for (;;) {
      Model* arriving = nullptr;
      Model* ending = nullptr;
      Time next = loop_.NextAlarm();
      for (const auto& model : models_) {
        if (model->ends < next) next = model->ends, ending = model.get();
      }
      for (const auto& model : models_) {
        if (model->next && *model->next < next) next = *model->next, arriving = model.get();
      }
      const bool idle =
          std::ranges::all_of(models_, [](const auto& m) { return !m->next && m->ends == kNever; });
      if (idle && Answered()) return;
      ASSERT_NE(next, kNever) << "something waits and nobody will look at it";
      clock_.Advance(next - clock_.Now());
      if (arriving != nullptr) {
        Arrive(*arriving);
      } else if (ending != nullptr) {
        End(*ending);
      }
      loop_.RunPosted();
      LookAtWorkers();
    }
  }

  const std::vector<Batch>& started() const { return recorder_->started; }
  uint64_t ClosedFor(size_t model, CloseReason reason) const {
    return models_.at(model)->dispatcher->Stats().batches[static_cast<size_t>(reason)];
  }
  const std::vector<Batch>& run() const { return run_; }  // as the workers got them
  size_t refused() const {
    return static_cast<size_t>(
        std::ranges::count_if(calls_, [](const auto& call) { return !call->status.ok(); }));
  }

 private:
  struct Model {
    ServiceTimes service;
    std::unique_ptr<Arrivals> arrivals;
    std::optional<Time> next;
    FakeChannel channel;
    std::unique_ptr<Dispatcher> dispatcher;
    int rows = 1;  // of a request
    Time started{}, ends = kNever;
  };

  void Load(const TestModel& description, int threads) {
    Model& model = *models_.emplace_back(std::make_unique<Model>());
    model.service = TableOf(description);
    model.rows = description.rows;
    model.arrivals = ArrivalsOf(description)->Play(1, 1);
    model.next = model.arrivals->Next();
    DispatcherOptions options;
    options.model = fmt::format("m{}", models_.size());
    options.signature.inputs = {{"x", DataType::kFp32, Shape{kDynamic, 1}, {}, {}}};
    options.signature.outputs = {{"y", DataType::kFp32, Shape{kDynamic, 1}, {}, {}}};
    options.signature.batched = true;
    options.signature.max_batch = MaxBatch(description);
    options.batching = description.batching;
    options.objective = description.objective;
    options.hang_timeout = 1h;  // an alarm that rings asks the policy once more
    options.input_capacity = 1 << 16;
    options.node = node_.get();
    model.dispatcher = std::make_unique<Dispatcher>(std::move(options), loop_, clock_);
    model.dispatcher->Attach(0, &model.channel, threads);
    while (!model.channel.submitted.empty()) Finish(model);  // every size, until it is warm
    if (description.best_batch > 0) {
      model.dispatcher->SetBestBatch(description.best_batch,
                                     model.service.curve().Mean(description.best_batch));
    }
  }

  Duration TimeOf(const Model& model) const {
    return model.service.curve().Mean(static_cast<int>(model.channel.submitted.front().rows()));
  }
  void Finish(Model& model) {
    model.channel.Finish(TimeOf(model), clock_.Now() - TimeOf(model));
    model.dispatcher->OnChannelReadable(0);
  }
  void Arrive(Model& model) {
    model.next = model.arrivals->Next();
    calls_.push_back(std::make_unique<Call>(model.rows));
    calls_.back()->arrived = clock_.Now();
    model.dispatcher->Infer(calls_.back().get());
  }
  void End(Model& model) {
    model.ends = kNever;
    Finish(model);
  }
  void LookAtWorkers() {
    for (size_t m = 0; m < models_.size(); ++m) {
      Model& model = *models_[m];
      if (model.ends != kNever || model.channel.submitted.empty()) continue;
      const bool own_rule = model.dispatcher->policy() == "fixed";
      ASSERT_TRUE(own_rule || model.channel.submitted.size() == 1)
          << "a batch lies ready behind another";
      model.ends = clock_.Now() + TimeOf(model);
      run_.push_back({clock_.Now(), static_cast<int>(m), model.channel.submitted.front().rows(),
                      CloseReason::kIdle});
    }
  }
  bool Answered() const {
    return std::ranges::all_of(calls_, [](const auto& call) { return call->answered; });
  }

  ManualClock clock_;
  FakeEventLoop loop_{clock_};
  Recorder* recorder_ = nullptr;
  std::unique_ptr<NodeScheduler> node_;
  std::vector<std::unique_ptr<Model>> models_;
  std::unique_ptr<Waiter> waiter_;
  std::deque<std::unique_ptr<Call>> calls_;
  std::vector<Batch> run_;
};

// As a trace file has it.
std::string Recorded(const std::string& spec, uint64_t seed, Duration length) {
  const auto process = ParseArrivals(spec, {}).value();
  const auto arrivals = process->Play(1, seed);
  std::string text = "t_s\n";
  while (const auto at = arrivals->Next()) {
    if (*at > Time(length)) break;
    text += fmt::format("{:.9f}\n", Seconds(at->time_since_epoch()));
  }
  return text;
}

// One model that batching helps, and one that it hardly does; together they need most of two cores when run one by one, and
// their bursts more than that. T of a full batch is above the least interval: arrivals are binned anew on the way.
// `rows`: of a request of each; as many fewer requests come.
std::vector<TestModel> TwoModels(Duration length, std::array<int, 2> rows = {1, 1}) {
  const int by = rows[1];
  std::vector<TestModel> models = {
      {140'003ns, 13'007ns, 20ms,
       Recorded(fmt::format("gamma:{},cv=2", 4500 / rows[0]), 11, length)},
      {51'011ns, 400'013ns, 50ms,
       Recorded(fmt::format("steps:{}@1/{}@1/{}@1", 300 / by, 1100 / by, 100 / by), 12, length)}};
  for (size_t m = 0; m < models.size(); ++m) models[m].rows = rows[m];
  return models;
}

struct Case {
  const char* policy;
  int threads;  // of an instance: with 2, the two models share both cores
  bool save_power = false;
  std::array<int, 2> best_batch = {0, 0};  // of the models' load tables
  std::array<int, 2> rows = {1, 1};        // of a request of each
};

class SameDecisions : public testing::TestWithParam<Case> {};

TEST_P(SameDecisions, InDaemonAndSimulator) {
  const auto [policy, threads, save_power, best_batch, rows] = GetParam();
  const Duration length = 4s;
  std::vector<TestModel> models = TwoModels(length, rows);
  for (size_t m = 0; m < models.size(); ++m) models[m].best_batch = best_batch[m];

  Recorder simulated(policy);
  simulated.Begin();
  SimOptions options;
  options.cores = kCores;
  options.length = length + 1s;
  options.warm_up = 0ns;
  options.save_power = save_power;
  const SimReport report = Simulate(SimModels(models, threads), simulated, options);
  for (const ModelOutcome& model : report.models) ASSERT_EQ(model.shed + model.expired, 0u);

  Daemon daemon(models, policy, threads, save_power);
  daemon.Play();
  ASSERT_EQ(daemon.refused(), 0u);

  const size_t both = std::min(daemon.started().size(), simulated.started.size());
  for (size_t i = 0; i < both; ++i) {
    ASSERT_EQ(ToString(daemon.started()[i]), ToString(simulated.started[i])) << "batch " << i;
  }
  EXPECT_EQ(daemon.started().size(), simulated.started.size());
  EXPECT_GT(both, rows[0] > 1 ? 400u : 800u);
  // What the policy said is what the workers got.
  ASSERT_EQ(daemon.run().size(), daemon.started().size());
  for (size_t i = 0; i < both; ++i) {
    EXPECT_EQ(daemon.run()[i].at, daemon.started()[i].at);
    EXPECT_EQ(daemon.run()[i].model, daemon.started()[i].model);
    // Requests stay together.
    const int64_t whole = models[static_cast<size_t>(daemon.run()[i].model)].rows;
    EXPECT_EQ(daemon.run()[i].rows, daemon.started()[i].rows / whole * whole);
  }
}

// The trace must be one on which the policies have something to decide, or equality means little.
TEST(SameDecisionsTrace, HasBatchesOfManySizesClosedForManyReasons) {
  const std::vector<TestModel> models = TwoModels(4s);
  Recorder simulated("auto");
  simulated.Begin();
  SimOptions options;
  options.cores = kCores;
  options.length = 5s;
  options.warm_up = 0ns;
  const SimReport report = Simulate(SimModels(models, 2), simulated, options);
  EXPECT_GE(report.models[0].batches.size(), 8u);
  for (const CloseReason reason :
       {CloseReason::kIdle, CloseReason::kWorth, CloseReason::kDeadline, CloseReason::kFull}) {
    const auto at = static_cast<size_t>(reason);
    EXPECT_GT(report.models[0].reasons[at] + report.models[1].reasons[at], 5u) << NameOf(reason);
  }
}

// What a model's own rule decides in the dispatcher, and the policy of the same name in the simulator.
TEST(SameDecisionsOfOwnRules, FixedInDaemonAndSimulator) {
  std::vector<TestModel> models = TwoModels(4s);
  for (TestModel& model : models) model.batching.policy = BatchingPolicy::kFixed;
  models[0].batching.max_delay = 3ms;
  models[0].batching.max_batch = 12;
  models[1].batching.max_delay = 7ms;
  models[1].batching.max_batch = 24;
  models[1].batching.preferred_sizes = {4, 6};
  Recorder simulated("fixed");
  simulated.Begin();
  SimOptions options;
  options.cores = kCores;
  options.length = 5s;
  options.warm_up = 0ns;
  options.list_batches = true;
  const SimReport report = Simulate(SimModels(models, 1), simulated, options);
  for (const ModelOutcome& model : report.models) ASSERT_EQ(model.shed + model.expired, 0u);

  Daemon daemon(models, "auto", 1);
  daemon.Play();
  ASSERT_EQ(daemon.refused(), 0u);
  EXPECT_TRUE(daemon.started().empty());  // the node has no say
  ASSERT_EQ(daemon.run().size(), report.batches.size());
  EXPECT_GT(report.batches.size(), 800u);
  for (size_t i = 0; i < report.batches.size(); ++i) {
    const SimBatch& batch = report.batches[i];
    ASSERT_EQ(ToString(daemon.run()[i]),
              ToString({batch.at, batch.model, batch.rows, CloseReason::kIdle}))
        << "batch " << i;
  }
  for (size_t m = 0; m < models.size(); ++m) {
    for (const CloseReason reason : {CloseReason::kFull, CloseReason::kDeadline}) {
      const uint64_t closed = report.models[m].reasons[static_cast<size_t>(reason)];
      EXPECT_EQ(daemon.ClosedFor(m, reason), closed) << NameOf(reason);
      EXPECT_GT(closed, 5u) << NameOf(reason);
    }
  }
}

std::string NameOfCase(const testing::TestParamInfo<Case>& one) {
  std::string name = fmt::format("{}{}", one.param.policy, one.param.threads);
  if (one.param.save_power) name += "Saving";
  if (one.param.best_batch[0] > 0) name += "ByTable";
  if (one.param.rows[0] > 1) name += "OfSeveralRows";
  std::erase(name, '-');
  return name;
}

// At-will policies have both cores to themselves with one thread each; with two they would share them, and whose batch runs how
// fast then is the machine's doing, not the policy's.
INSTANTIATE_TEST_SUITE_P(Policies, SameDecisions,
                         testing::Values(Case{"auto", 2}, Case{"auto", 1}, Case{"auto", 2, true},
                                         Case{"auto", 1, true}, Case{"gated-greedy", 2},
                                         Case{"gated-greedy", 1}, Case{"method", 1},
                                         Case{"method", 1, false, {24, 1}}, Case{"none", 1},
                                         Case{"greedy", 1}, Case{"auto", 1, false, {0, 0}, {3, 2}},
                                         Case{"auto", 2, true, {0, 0}, {5, 3}},
                                         Case{"gated-greedy", 1, false, {0, 0}, {3, 2}},
                                         Case{"method", 1, false, {24, 2}, {3, 2}},
                                         Case{"none", 1, false, {0, 0}, {3, 2}},
                                         Case{"greedy", 1, false, {0, 0}, {3, 2}}),
                         NameOfCase);

}  // namespace
}  // namespace evenkeel::sim
