// The step loop with a tiny model: what it reports when a step fails or nothing is left, and states that go to another loop. Answers of a real model: server/language_model_test.
#include "engines/llamacpp/step_loop.h"

#include <gtest/gtest.h>
#include <llama.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <functional>
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

  void RunToTheEnd() {
    while (!loop_->idle()) loop_->Step();
  }
  int PromptTokens() const {
    int sum = 0;
    for (const StepReport& report : sink_.reports) sum += report.prompt_tokens;
    return sum;
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

// The other worker is this one loaded anew: nothing is left in its cache.
TEST_F(StepLoopTest, AStateIsGoneOnFromInAnotherWorkerWithTheSameTextAndHardlyAPromptToken) {
  SequenceStart start = Start(1);
  start.max_tokens = 40;
  loop_->Start(start);
  RunToTheEnd();
  const std::vector<int32_t> whole = sink_.drawn[1];
  ASSERT_EQ(whole.size(), 40u);

  Load();
  start.id = 2;
  loop_->Start(start);
  // Another one runs beside it, so that its cells lie apart.
  SequenceStart beside = Start(3);
  beside.prompt = {1, 90, 91, 92};
  loop_->Start(beside);
  while (sink_.drawn[2].size() < 15) loop_->Step();
  const auto state = loop_->SaveState(2);
  ASSERT_TRUE(state.ok()) << state.status().ToString();
  // All but the token that was drawn last.
  ASSERT_EQ(state->tokens.size(), start.prompt.size() + 14);
  // It goes on here until it is cancelled, and some tokens more are told.
  loop_->Step();
  loop_->Step();
  const std::vector<int32_t> told = sink_.drawn[2];
  ASSERT_EQ(told.size(), 17u);
  ASSERT_TRUE(std::equal(told.begin(), told.end(), whole.begin()));

  Load();
  const Status loaded = loop_->LoadState(*state);
  ASSERT_TRUE(loaded.ok()) << loaded.ToString();
  EXPECT_EQ(sink_.reports.back().cells_held, static_cast<int>(state->tokens.size()));
  sink_.reports.clear();
  start.id = 4;
  start.answered = told;
  loop_->Start(start);
  RunToTheEnd();
  EXPECT_EQ(sink_.drawn[4], std::vector<int32_t>(whole.begin() + 17, whole.end()));
  // The three that were drawn since.
  EXPECT_EQ(PromptTokens(), 3);
  EXPECT_EQ(sink_.ends.back().cached_tokens, static_cast<int>(start.prompt.size()));

  // Without the state everything is computed again.
  Load();
  sink_.reports.clear();
  start.id = 5;
  loop_->Start(start);
  RunToTheEnd();
  EXPECT_EQ(PromptTokens(), static_cast<int>(start.prompt.size()) + 17);
}

TEST_F(StepLoopTest, OnlyASequenceThatAnswersHasAState) {
  EXPECT_EQ(loop_->SaveState(1).status().code(), Code::kNotFound);
  loop_->Start(Start(1));
  EXPECT_EQ(loop_->SaveState(1).status().code(), Code::kNotFound) << "nothing is computed yet";
  loop_->Step();
  EXPECT_TRUE(loop_->SaveState(1).ok());
  loop_->Cancel(1);
  EXPECT_EQ(loop_->SaveState(1).status().code(), Code::kNotFound);
}

// What comes from another node: the worker lives, what runs is not touched, and nothing of it is kept.
TEST_F(StepLoopTest, AStateThatIsNoneOfThisModelsIsRefused) {
  loop_->Start(Start(1));
  RunToTheEnd();
  const std::vector<int32_t> whole = sink_.drawn[1];
  Load();
  loop_->Start(Start(2));
  while (sink_.drawn[2].size() < 10) loop_->Step();
  const SequenceState state = loop_->SaveState(2).value();

  Load();
  loop_->Start(Start(3));
  loop_->Step();
  const auto refused = [&](Code code, const std::function<void(SequenceState&)>& change) {
    SequenceState other = state;
    change(other);
    const Status status = loop_->LoadState(other);
    EXPECT_EQ(status.code(), code) << status.ToString();
  };
  refused(Code::kConflict, [](SequenceState& s) { s.kind += " of another build"; });
  refused(Code::kConflict, [](SequenceState& s) { s.kind.clear(); });
  refused(Code::kInvalidArgument, [](SequenceState& s) { s.tokens.pop_back(); });
  refused(Code::kInvalidArgument, [](SequenceState& s) { s.tokens.clear(); });
  refused(Code::kInvalidArgument, [](SequenceState& s) { s.tokens.back() = kTinyVocabulary; });
  refused(Code::kInvalidArgument, [](SequenceState& s) { s.tokens.assign(100'000, 5); });
  refused(Code::kInvalidArgument, [](SequenceState& s) { s.bytes.clear(); });
  refused(Code::kInvalidArgument, [](SequenceState& s) { s.bytes += 'x'; });
  // What the engine knows it by.
  refused(Code::kInvalidArgument, [](SequenceState& s) { s.bytes[0] = 'x'; });
  for (size_t size = 0; size < state.bytes.size(); size += 997)
    refused(Code::kInvalidArgument, [&](SequenceState& s) { s.bytes.resize(size); });
  // All cells but one layer less: right for itself, and not this model's.
  refused(Code::kInvalidArgument, [](SequenceState& s) {
    const size_t layers = 4 * 4 + s.tokens.size() * 12 + 4;
    uint32_t count = 0;
    std::memcpy(&count, s.bytes.data() + layers, sizeof count);
    ASSERT_GE(count, 2u);
    const size_t one = (s.bytes.size() - layers - 4) / 2 / count;  // keys or values of a layer
    --count;
    std::memcpy(s.bytes.data() + layers, &count, sizeof count);
    // The last layer's values, and the last one's keys: both lie whole behind those of the layers before.
    s.bytes.resize(s.bytes.size() - one);
    s.bytes.erase(layers + 4 + one * count, one);
  });
  RunToTheEnd();
  EXPECT_EQ(sink_.drawn[3], whole) << "a neighbour's answer changed";
  EXPECT_EQ(sink_.reports.back().running, 0);
}

TEST_F(StepLoopTest, AStateForWhichNoSlotIsFreeIsRefusedAndWhatIsKeptGivesWayToOne) {
  loop_->Start(Start(1));
  while (sink_.drawn[1].size() < 10) loop_->Step();
  const SequenceState state = loop_->SaveState(1).value();
  SequenceStart other = Start(2);
  other.prompt = {1, 90, 91, 92};
  loop_->Start(other);
  loop_->Step();
  EXPECT_EQ(loop_->LoadState(state).code(), Code::kOverloaded) << "both slots are running";
  RunToTheEnd();
  ASSERT_EQ(sink_.drawn[2].size(), 20u);
  // Both are kept: one of them goes.
  SequenceState renamed = state;
  renamed.tokens[0] = 200;  // so that no beginning is shared
  EXPECT_TRUE(loop_->LoadState(renamed).ok());
  const StepReport& last = sink_.reports.back();
  EXPECT_EQ(last.cells_booked, last.cells_held);
  EXPECT_EQ(last.running, 0);
}

}  // namespace
}  // namespace evenkeel
