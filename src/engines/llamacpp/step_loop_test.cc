// The step loop with a tiny model: what it reports when a step fails or nothing is left. Answers of a real model: server/language_model_test.
#include "engines/llamacpp/step_loop.h"

#include <gtest/gtest.h>
#include <llama.h>
#include <unistd.h>

#include <map>

#include "core/format.h"
#include "engines/llamacpp/tiny_gguf.h"

namespace evenkeel {
namespace {

class Collector final : public StepSink {
 public:
  void Token(const SequenceToken& token) override { drawn[token.id].push_back(token.token); }
  void End(const SequenceEnd& end) override { ends.push_back(end); }
  void Stepped(const StepReport& report) override { reports.push_back(report); }

  std::map<uint64_t, std::vector<int32_t>> drawn;
  std::vector<SequenceEnd> ends;
  std::vector<StepReport> reports;
};

class StepLoopTest : public testing::Test {
 protected:
  void SetUp() override { Load(); }
  void Load() {
    LlmLoad load;
    load.path = testing::TempDir() + fmt::format("step_loop_{}.gguf", ::getpid());
    load.slots = 2;
    WriteTinyGguf({}, load.path);
    auto model = LlamaModel::Load(load);
    std::remove(load.path.c_str());
    ASSERT_TRUE(model.ok()) << model.status().ToString();
    loop_.reset();
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

// As in another worker: nothing of the first run is in the cache.
TEST_F(StepLoopTest, ASeededAnswerGoesOnAsIfItHadNotBeenCut) {
  SequenceStart plain = Start(0);
  plain.max_tokens = 30;
  plain.sampling.temperature = 0.8F;
  plain.sampling.top_k = 8;
  plain.sampling.seed = 5;
  SequenceStart penalised = plain;
  penalised.sampling.repeat_penalty = 1.5F;
  penalised.sampling.frequency_penalty = 0.5F;
  // Most of what is drawn first is refused.
  SequenceStart grammar = plain;
  grammar.sampling.top_k = 0;
  grammar.grammar.kind = AnswerGrammar::Kind::kUser;
  grammar.grammar.gbnf = "root ::= ([a-d] [e-h])*";
  SequenceStart any_seed = plain;
  any_seed.sampling.seed = LLAMA_DEFAULT_SEED;
  uint64_t id = 0;
  const auto run = [&](SequenceStart start) {
    Load();
    start.id = ++id;
    loop_->Start(start);
    while (!loop_->idle()) loop_->Step();
    return sink_.drawn[id];
  };
  for (const SequenceStart& start : {plain, penalised, grammar, any_seed}) {
    SCOPED_TRACE(start.grammar.gbnf + fmt::format(" penalty {:g}", start.sampling.repeat_penalty));
    const std::vector<int32_t> whole = run(start);
    ASSERT_EQ(whole.size(), 30u);
    SequenceStart other = start;
    other.sampling.seed = 6;
    EXPECT_NE(run(other), whole) << "the seed decides nothing";
    for (const int cut : {1, 7, 20}) {
      SequenceStart rest = start;
      rest.answered.assign(whole.begin(), whole.begin() + cut);
      EXPECT_EQ(run(rest), std::vector<int32_t>(whole.begin() + cut, whole.end())) << cut;
    }
  }
}

}  // namespace
}  // namespace evenkeel
