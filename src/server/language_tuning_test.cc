// The loop around a language model with its real processes and a real model: measured, kept, chosen, and sharing cores with batches.
#include <gtest/gtest.h>

#include <atomic>
#include <condition_variable>
#include <cstdlib>
#include <filesystem>
#include <functional>
#include <future>
#include <map>
#include <mutex>
#include <thread>

#include "llm/llm_model.h"
#include "server/language_tables.h"
#include "server/language_test_kit.h"

// The kit has EVENKEEL_BINARY_DIR of the file that includes it.
namespace evenkeel {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

// More tokens than any machine makes before a test has seen what it waits for.
constexpr int kLong = 6000;

class Call final : public GenerationCall {
 public:
  Call(const std::string& prompt, int tokens) {
    arrived = SteadyClock::Instance().Now();
    request.prompt = prompt;
    request.max_tokens = tokens;
    request.ignore_eos = true;
    request.sampling.temperature = 0;
  }
  void OnStart(int /*tokens*/) override {}
  void OnDelta(const GenerationDelta& delta) override {
    const std::lock_guard lock(mutex_);
    text += delta.text;
    ++deltas;
    changed_.notify_all();
  }
  void OnFinish(int /*choice*/, FinishReason /*reason*/) override {}
  void Done(const Status& ended, const GenerationUsage& used) override {
    const std::lock_guard lock(mutex_);
    status = ended;
    usage = used;
    done_ = true;
    changed_.notify_all();
  }
  const Status& Wait() {
    std::unique_lock lock(mutex_);
    EXPECT_TRUE(changed_.wait_for(lock, seconds(60), [this] { return done_; }));
    return status;
  }
  bool WaitForDeltas(int count, Duration longest) {
    std::unique_lock lock(mutex_);
    return changed_.wait_for(lock, longest, [&] { return done_ || deltas >= count; });
  }

  std::string text;
  std::atomic<int> deltas{0};
  Status status;
  GenerationUsage usage;

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  bool done_ = false;
};

// Batches as the node sees them: so many threads at once, for as long as a test wants.
class Batches final : public NodeScheduler::Member {
 public:
  Batches(NodeScheduler& node, int threads)
      : node_(node), threads_(threads), id_(node.Join(this)) {}
  ~Batches() override { node_.Leave(id_); }
  void Add() {
    {
      const std::lock_guard lock(mutex_);
      ++waiting_;
      Publish();
    }
    node_.Run();
  }
  void End() {
    {
      const std::lock_guard lock(mutex_);
      running_ = false;
      Publish();
    }
    node_.Run();
  }
  void StartBatch(const NodeScheduler::Start& start) override {
    const std::lock_guard lock(mutex_);
    running_ = true;
    ++starts;
    waiting_ -= start.rows;
    Publish();
  }
  std::atomic<int> starts{0};

 private:
  void Publish() {
    node_.Publish(id_, [this](NodeScheduler::Snapshot& snapshot) {
      snapshot.objective = seconds(1);
      snapshot.ids.push_back(0);
      snapshot.instances.push_back({true, threads_, running_ ? 1 : 0, {}});
      if (waiting_ == 0) return;
      policy::LaneView lane;
      lane.waiting_rows = waiting_;
      lane.oldest_arrival = lane.newest_arrival = SteadyClock::Instance().Now();
      lane.max_rows = 1;
      snapshot.lanes.push_back(lane);
    });
  }
  NodeScheduler& node_;
  const int threads_, id_;
  std::mutex mutex_;
  bool running_ = false;
  int64_t waiting_ = 0;
};

class LanguageTuningTest : public LanguageTest {
 protected:
  void SetUp() override {
    LanguageTest::SetUp();
    if (IsSkipped()) return;
    state_ = testing::TempDir() + "language_tuning_" +
             testing::UnitTest::GetInstance()->current_test_info()->name();
    std::filesystem::remove_all(state_);
  }
  void TearDown() override {
    Stop();
    if (loop_ != nullptr) {
      if (node_ != nullptr) OnLoop([&] { node_->Close(); });
      loop_->Stop();
    }
    std::filesystem::remove_all(state_);
  }
  void Stop() {
    if (model_ == nullptr) return;
    std::promise<void> stopped;
    loop_->Post([&] { model_->Stop([&] { stopped.set_value(); }); });
    EXPECT_EQ(stopped.get_future().wait_for(seconds(30)), std::future_status::ready);
    model_.reset();
  }
  void MakeNode(int cores) {
    node_ = std::make_unique<NodeScheduler>(std::move(policy::MakeNodePolicy("auto")).value(),
                                            cores, false, *loop_, SteadyClock::Instance());
  }

  void Load(LlmOptions options) {
    options.name = "smollm2";
    options.path = ModelPath();
    LlmContext context = Context();
    context.node = node_.get();
    context.tables = tables_.get();
    context.cores = 2;
    auto model = std::make_shared<LlmModel>(context, options);
    std::promise<Status> ready;
    loop_->Post([&] { model->Start([&](const Status& status) { ready.set_value(status); }); });
    const Status status = ready.get_future().get();
    ASSERT_TRUE(status.ok()) << status.ToString();
    model_ = model;
  }
  LlmModel::View WaitUntil(const std::function<bool(const LlmModel::View&)>& so) {
    LlmModel::View view = model_->Look();
    for (int i = 0; i < 6000 && !so(view); ++i) {
      std::this_thread::sleep_for(milliseconds(5));
      view = model_->Look();
    }
    EXPECT_TRUE(so(view));
    return view;
  }

  std::unique_ptr<NodeScheduler> node_;
  std::unique_ptr<LanguageTables> tables_;
  std::shared_ptr<LlmModel> model_;
  std::string state_;
};

LlmOptions Tuned(int threads) {
  LlmOptions options;
  options.tuned = true;
  options.threads = threads;
  return options;
}

TEST_F(LanguageTuningTest, IsMeasuredWhileNobodyAsksAndBeginsWithThatTheNextTime) {
  tables_ = std::make_unique<LanguageTables>(state_, "a machine", Rung::kProcess, *loop_);
  LlmOptions options = Tuned(2);
  options.measure_after = Duration::zero();
  Load(options);
  const auto view = WaitUntil([](const LlmModel::View& now) {
    return now.tuning.measuring.empty() && now.tuning.choice.step_s > 0 &&
           now.tuning.choice.prompt_token_s > 0;
  });
  EXPECT_EQ(view.tuning.table_from, "measured");
  EXPECT_GT(view.tuning.choice.prompt_token_s, 0);
  const auto& table = view.tuning.kept.table;
  EXPECT_TRUE(table.Knows({2, 1, 0, 0}));
  // Nobody asked for anything.
  EXPECT_EQ(view.engine.answer_tokens, 0u);
  EXPECT_EQ(view.engine.steps, 0u);
  const uint64_t rows = table.rows().size();
  Stop();
  tables_->Flush();
  options.measure_after = std::nullopt;
  Load(options);
  const auto again = WaitUntil([](const LlmModel::View& now) { return now.tuning.slots > 0; });
  EXPECT_EQ(again.tuning.table_from, "kept");
  EXPECT_GE(again.tuning.kept.table.rows().size(), rows);  // a last step may still have come
  EXPECT_GT(again.tuning.choice.step_s, 0);
  Stop();
  // Another machine's table is not this one's.
  tables_ = std::make_unique<LanguageTables>(state_, "another machine", Rung::kProcess, *loop_);
  Load(options);
  EXPECT_TRUE(model_->Look().tuning.kept.table.empty());
}

TEST_F(LanguageTuningTest, ACallDoesNotWaitForWhatIsMeasured) {
  LlmOptions options = Tuned(1);
  options.measure_after = Duration::zero();
  Load(options);
  WaitUntil([](const LlmModel::View& now) { return !now.tuning.measuring.empty(); });
  Call call("The capital of France is", 4);
  model_->Generate(&call);
  ASSERT_TRUE(call.Wait().ok()) << call.status.ToString();
  EXPECT_EQ(call.usage.completion_tokens, 4);
  EXPECT_TRUE(model_->Look().tuning.measuring.empty());
}

TEST_F(LanguageTuningTest, StepsLeaveBatchesTheCoresThatTheyNeed) {
  MakeNode(2);
  Load(Tuned(2));
  Batches batches(*node_, 1);
  Call call("Once upon a time there was", kLong);
  model_->Generate(&call);
  WaitUntil([](const LlmModel::View& now) { return now.tuning.held == 2 && now.engine.steps > 0; });
  batches.Add();
  WaitUntil([&](const LlmModel::View&) { return batches.starts == 1; });
  // Both run: one core each.
  WaitUntil([](const LlmModel::View& now) { return now.engine.step.threads == 1; });
  WaitUntil([](const LlmModel::View& now) { return now.tuning.held == 1; });
  EXPECT_LE(node_->LoadNow().busy_cores, 2);
  const uint64_t steps = model_->Look().engine.steps;
  WaitUntil([&](const LlmModel::View& now) { return now.engine.steps > steps + 3; });
  batches.End();
  WaitUntil([](const LlmModel::View& now) { return now.tuning.held == 2; });
  model_->Cancel(&call);
  call.Wait();
  WaitUntil([&](const LlmModel::View&) { return node_->LoadNow().busy_cores == 0; });
}

TEST_F(LanguageTuningTest, ABatchOfAllCoresHasItsTurnAndStepsGoOnBehindIt) {
  MakeNode(2);
  Load(Tuned(2));
  Batches batches(*node_, 2);
  Call call("Once upon a time there was", kLong);
  model_->Generate(&call);
  ASSERT_TRUE(call.WaitForDeltas(2, seconds(30)));
  batches.Add();
  WaitUntil([&](const LlmModel::View&) { return batches.starts == 1; });
  WaitUntil([](const LlmModel::View& now) { return now.tuning.held == 0; });
  const int deltas = call.deltas;
  EXPECT_FALSE(call.WaitForDeltas(deltas + 3, milliseconds(300)));  // no step without a core
  batches.End();
  EXPECT_TRUE(call.WaitForDeltas(deltas + 3, seconds(30)));
  model_->Cancel(&call);
  call.Wait();
}

}  // namespace
}  // namespace evenkeel
