// The step loop with a tiny model: what it reports when a step fails or nothing is left. Answers of a real model: server/language_model_test.
#include "engines/llamacpp/step_loop.h"

#include <gtest/gtest.h>
#include <llama.h>
#include <unistd.h>

#include "core/format.h"
#include "engines/llamacpp/tiny_gguf.h"

namespace evenkeel {
namespace {

class Collector final : public StepSink {
 public:
  void Token(const SequenceToken&) override { ++tokens; }
  void End(const SequenceEnd& end) override { ends.push_back(end); }
  void Stepped(const StepReport& report) override { reports.push_back(report); }

  int tokens = 0;
  std::vector<SequenceEnd> ends;
  std::vector<StepReport> reports;
};

class StepLoopTest : public testing::Test {
 protected:
  void SetUp() override {
    LlmLoad load;
    load.path = testing::TempDir() + fmt::format("step_loop_{}.gguf", ::getpid());
    load.slots = 2;
    WriteTinyGguf({}, load.path);
    auto model = LlamaModel::Load(load);
    std::remove(load.path.c_str());
    ASSERT_TRUE(model.ok()) << model.status().ToString();
    model_ = std::move(*model);
    loop_ = std::make_unique<StepLoop>(*model_, Duration{}, SteadyClock::Instance(), sink_);
  }
  static SequenceStart Start(uint64_t id) {
    SequenceStart start;
    start.id = id;
    start.prompt = {1, 70, 71, 72, 73, 74, 75, 76, 77, 78};
    start.max_tokens = 20;
    start.ignore_eos = true;
    start.sampling.temperature = 0;
    start.sampling.seed = 1;
    return start;
  }

  Collector sink_;
  std::unique_ptr<LlamaModel> model_;
  std::unique_ptr<StepLoop> loop_;
};

TEST_F(StepLoopTest, TheLastCancelIsReported) {
  loop_->Start(Start(1));
  loop_->Start(Start(2));
  loop_->Step();
  EXPECT_EQ(sink_.reports.back().running, 2);
  loop_->Cancel(1);
  const size_t before = sink_.reports.size();
  loop_->Cancel(2);
  ASSERT_EQ(sink_.reports.size(), before + 1);
  const StepReport& last = sink_.reports.back();
  EXPECT_EQ(last.running + last.waiting, 0);
  EXPECT_EQ(last.cells_booked, last.cells_held);  // what is kept for others
  EXPECT_EQ(last.took, Duration::zero());
  EXPECT_TRUE(sink_.ends.empty());
}

TEST_F(StepLoopTest, AStepThatFailsIsReportedAndTheNextSequenceRuns) {
  loop_->Start(Start(1));
  loop_->Step();
  llama_set_abort_callback(
      model_->context(), [](void*) { return true; }, nullptr);
  loop_->Step();
  ASSERT_EQ(sink_.ends.size(), 1u);
  EXPECT_EQ(sink_.ends[0].status.code(), Code::kInternal);
  EXPECT_EQ(sink_.reports.back().running, 0);
  EXPECT_EQ(sink_.reports.back().cells_booked, 0);
  EXPECT_GT(sink_.reports.back().took, Duration::zero());
  EXPECT_TRUE(loop_->idle());
  llama_set_abort_callback(
      model_->context(), [](void*) { return false; }, nullptr);
  loop_->Start(Start(2));
  while (!loop_->idle()) loop_->Step();
  ASSERT_EQ(sink_.ends.size(), 2u);
  EXPECT_EQ(sink_.ends[1].reason, SequenceEnd::Reason::kLength);
  EXPECT_EQ(sink_.ends[1].completion_tokens, 20);
}

}  // namespace
}  // namespace evenkeel
