#include "sim/cluster/pipeline_simulation.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include "core/format.h"
#include "sim/cluster/pipeline_file.h"
#include "sim/cluster/pipeline_report.h"

namespace evenkeel::sim {
namespace {

const ReadFile kNoFiles = [](const std::string& path) -> Result<std::string> {
  return NotFound("no file {}", path);
};

// So many sequences at once, and no more.
class AllAtOnce : public ArrivalProcess {
 public:
  explicit AllAtOnce(int count) : count_(count) {}
  std::unique_ptr<Arrivals> Play(double /*factor*/, uint64_t /*seed*/) const override {
    class Few : public Arrivals {
     public:
      explicit Few(int left) : left_(left) {}
      std::optional<Time> Next() override {
        return left_-- > 0 ? std::optional<Time>(Time{}) : std::nullopt;
      }

     private:
      int left_;
    };
    return std::make_unique<Few>(count_);
  }
  double mean_rate_rps() const override { return count_; }

 private:
  const int count_;
};

PipelineScenario Parsed(const std::string& text) {
  auto scenario = ParsePipeline(text, kNoFiles);
  EXPECT_TRUE(scenario.ok()) << scenario.status().ToString();
  return scenario.ok() ? *scenario : PipelineScenario{};
}

// Four layers of 1 GiB and 1 GB to be read, 0.1 GFLOP a token; a has 0.1 s a layer, b 0.05, each room for three, and c is slower than both. A hop of one token takes 1 ms, half of it sending.
std::string Text(const std::string& pipeline, const std::string& more = "") {
  return fmt::format(
      R"({{"nodes":[{{"name":"a","gflops":100,"memory_gb_s":10,"memory":"3GiB"}},
                   {{"name":"b","gflops":200,"memory_gb_s":20,"memory":"3GiB"}},
                   {{"name":"c","gflops":50,"memory_gb_s":5,"memory":"3GiB"}}],
          "links":{{"bandwidth":"1MB","round_trip":"1ms"}},
          "tasks":[{{"name":"giant","layers":4,"gflop":0.4,"gbytes":4,"memory":"4GiB","boundary":"500B"}}],
          "pipeline":{{"arrivals":"poisson:1"{}}}{}}})",
      pipeline, more);
}

PipelineScenario AtOnce(int sequences, int answer, const std::string& more = "") {
  PipelineScenario scenario = Parsed(Text(R"(,"prompt":1)", more));
  scenario.arrivals = std::make_shared<AllAtOnce>(sequences);
  scenario.answer_tokens = answer;
  scenario.in_flight = std::max(1, sequences);
  return scenario;
}

PipelineOutcome Play(const PipelineScenario& scenario, double seconds, double warm_up_s = 0) {
  PipelineOptions options;
  options.seconds = seconds;
  options.warm_up_s = warm_up_s;
  auto outcome = SimulatePipeline(scenario, options);
  EXPECT_TRUE(outcome.ok()) << outcome.status().ToString();
  return outcome.ok() ? *outcome : PipelineOutcome{};
}

// Seconds of a layer of Text()'s model.
double LayerOn(const std::string& node) { return node == "a" ? 0.1 : node == "b" ? 0.05 : 0.2; }

TEST(PipelineSimulationTest, TheCutIsThatOfThePolicy) {
  const PipelineOutcome outcome = Play(AtOnce(1, 1), 10);
  ASSERT_EQ(outcome.cuts.size(), 1u);
  const auto& stages = outcome.cuts[0].stages;
  ASSERT_EQ(stages.size(), 2u);  // the fewest that hold it: a and b, of which b does three layers
  int next = 0;
  for (const StageOutcome& stage : stages) {
    EXPECT_EQ(stage.first, next);
    next += stage.layers;
    EXPECT_EQ(stage.layers, stage.place == "b" ? 3 : 1) << stage.place;
    EXPECT_NEAR(stage.seconds, stage.layers * LayerOn(stage.place), 1e-9);
  }
  EXPECT_EQ(next, 4);
  EXPECT_NEAR(outcome.cuts[0].latency_s, 0.1 + 0.15 + 0.001, 1e-9);
}

TEST(PipelineSimulationTest, OneSequenceTakesTheSumOfStagesAndLinksATokenAndLeavesTheRestIdle) {
  const PipelineOutcome outcome = Play(AtOnce(1, 40), 60);
  EXPECT_EQ(outcome.answered, 1u);
  EXPECT_EQ(outcome.answer_tokens, 40u);
  // There 1 ms, and the token back half a round trip.
  const double token_s = 0.1 + 0.15 + 0.001 + 0.0005;
  EXPECT_EQ(outcome.inter_token.total(), 39u);
  EXPECT_NEAR(outcome.inter_token.mean_s(), token_s, 1e-6);
  EXPECT_NEAR(outcome.first_token.mean_s(), token_s, 1e-6);
  for (const StageOutcome& stage : outcome.cuts[0].stages)
    EXPECT_NEAR(stage.idle, 1 - 40 * stage.seconds / 60, 1e-6);
}

TEST(PipelineSimulationTest, EnoughSequencesGiveAsManyTokensAsTheSlowestStage) {
  const PipelineOutcome outcome = Play(AtOnce(4, 1'000'000), 1000, 100);
  EXPECT_NEAR(static_cast<double>(outcome.answer_tokens) / 900, 1 / 0.15, 0.01);
  for (const StageOutcome& stage : outcome.cuts[0].stages)
    EXPECT_NEAR(stage.idle, 1 - stage.seconds / 0.15, 1e-3) << stage.place;
  // Each waits for the others between its tokens.
  EXPECT_NEAR(outcome.inter_token.mean_s(), 4 * 0.15, 1e-3);
}

TEST(PipelineSimulationTest, ALinkThatIsSlowerThanEveryStageSetsTheRate) {
  PipelineScenario scenario = AtOnce(8, 1'000'000);
  scenario.link.bytes_per_s = 1000;  // half a second a token
  const PipelineOutcome outcome = Play(scenario, 1000, 100);
  EXPECT_NEAR(static_cast<double>(outcome.answer_tokens) / 900, 2, 0.01);
}

// Round after round, each sequence's step through every stage and link.
struct Slow {
  std::vector<double> stages;
  double sending_s = 0, half_s = 0;

  // Tokens until `until`, and the sum of the times between a sequence's tokens.
  std::pair<uint64_t, double> Tokens(int sequences, double until) const {
    std::vector<double> ready(static_cast<size_t>(sequences), 0), stage_free(stages.size(), 0),
        link_free(stages.size(), 0);
    uint64_t tokens = 0;
    double between = 0;
    for (uint64_t round = 0;; ++round) {
      for (double& at : ready) {
        double t = at;
        for (size_t stage = 0; stage < stages.size(); ++stage) {
          t = stage_free[stage] = std::max(t, stage_free[stage]) + stages[stage];
          if (stage + 1 < stages.size())
            t = link_free[stage] = std::max(t, link_free[stage]) + sending_s;
          if (stages.size() > 1) t += half_s;
        }
        if (t > until) return {tokens, between};
        ++tokens;
        if (round > 0) between += t - at;
        at = t;
      }
    }
  }
};

TEST(PipelineSimulationTest, IsWhatARecurrenceGives) {
  std::mt19937_64 random(3);
  const auto below = [&](int most) {
    return static_cast<int>(random() % static_cast<uint64_t>(most));
  };
  int played = 0;
  for (int trial = 0; trial < 200; ++trial) {
    std::string nodes;
    for (int i = 0; i < 2 + below(4); ++i)
      nodes += fmt::format(R"({}{{"name":"n{}","gflops":1000,"memory_gb_s":{},"memory":"{}GiB"}})",
                           i == 0 ? "" : ",", i, 5 + below(40), 2 + below(5));
    const std::string text = fmt::format(
        R"({{"nodes":[{}],"links":{{"bandwidth":"{}kB","round_trip":"{}ms"}},
            "tasks":[{{"name":"m","layers":9,"gflop":1,"gbytes":9,"memory":"9GiB","boundary":"20kB"}}],
            "pipeline":{{"arrivals":"poisson:1","prompt":1,"answer":1000000}}}})",
        nodes, 50 + below(2000), below(200));
    const auto parsed = ParsePipeline(text, kNoFiles);
    ASSERT_TRUE(parsed.ok()) << parsed.status().ToString();
    PipelineScenario scenario = *parsed;
    const int sequences = 1 + below(8);
    scenario.arrivals = std::make_shared<AllAtOnce>(sequences);
    PipelineOptions options;
    options.seconds = 200;
    options.warm_up_s = 0;
    const auto outcome = SimulatePipeline(scenario, options);
    if (!outcome.ok()) continue;  // too large for these nodes
    ++played;
    Slow slow;
    for (const StageOutcome& stage : outcome->cuts[0].stages) slow.stages.push_back(stage.seconds);
    slow.sending_s = 20'000 / scenario.link.bytes_per_s;
    slow.half_s = scenario.link.round_trip_s / 2;
    const auto [tokens, between] = slow.Tokens(sequences, options.seconds);
    EXPECT_NEAR(static_cast<double>(outcome->answer_tokens), static_cast<double>(tokens), 1)
        << text << " " << sequences;
    const auto gaps = static_cast<double>(tokens) - sequences;
    EXPECT_NEAR(outcome->inter_token.mean_s(), between / gaps, 2 * between / gaps / gaps + 1e-6)
        << text << " " << sequences;
  }
  EXPECT_GT(played, 50);
}

TEST(PipelineSimulationTest, APromptGoesByWhatIsComputedAndItsPiecesFollowEachOther) {
  PipelineScenario scenario = AtOnce(1, 1);
  scenario.prompt_tokens = 1000;
  // 0.1 GFLOP a layer and token: on a (one layer) 1 s for the whole, on b (three) 1.5 s; 0.5 s of sending.
  scenario.piece_tokens = 1000;
  EXPECT_NEAR(Play(scenario, 100).first_token.mean_s(), 1 + 1.5 + 0.5 + 0.001, 1e-6);
  // In ten pieces, each of which reads the weights: a's takes 0.1 s, b's 0.15, sending 0.05. The slowest sets the pace.
  scenario.piece_tokens = 100;
  EXPECT_NEAR(Play(scenario, 100).first_token.mean_s(), 10 * 0.15 + 0.1 + 0.05 + 0.001, 1e-6);
}

TEST(PipelineSimulationTest, AfterAFailureSequencesGoOnFromTheirTokensOverWhatIsUp) {
  const PipelineScenario scenario =
      AtOnce(3, 100, R"(,"events":[{"at":"5s","node":"b","what":"fail"}])");
  const PipelineOutcome outcome = Play(scenario, 600);
  EXPECT_EQ(outcome.answered, 3u);
  EXPECT_EQ(outcome.unanswered, 0u);
  EXPECT_EQ(outcome.answer_tokens, 300u);
  EXPECT_EQ(outcome.inter_token.total(), 297u);
  EXPECT_GT(outcome.again_tokens, 0u);
  ASSERT_EQ(outcome.cuts.size(), 2u);
  EXPECT_DOUBLE_EQ(outcome.cuts[0].until_s, 5);
  for (const StageOutcome& stage : outcome.cuts[1].stages) EXPECT_NE(stage.place, "b");
  // Which layers a has already depends on the cuts' order; the others are read by both at once.
  const double layer_s = 1024.0 * 1024 * 1024 / 500e6;
  EXPECT_GE(outcome.down_s, 1 + layer_s - 1e-6);
  EXPECT_LE(outcome.down_s, 1 + 3 * layer_s + 1e-6);
  EXPECT_NEAR(outcome.cuts[1].from_s, 5 + outcome.down_s, 1e-9);
  EXPECT_GE(outcome.inter_token.QuantileSeconds(1), outcome.down_s);
  EXPECT_EQ(outcome.trouble, "");
}

TEST(PipelineSimulationTest, WhereItDoesNotFitAnyMoreItStaysDownUntilANodeReturns) {
  const std::string gone =
      R"({"at":"5s","node":"a","what":"fail"},{"at":"5s","node":"b","what":"fail"})";
  const PipelineOutcome down = Play(AtOnce(2, 100, R"(,"events":[)" + gone + "]"), 60);
  EXPECT_EQ(down.answered, 0u);
  EXPECT_EQ(down.unanswered, 2u);
  EXPECT_EQ(down.cuts.size(), 1u);
  EXPECT_NE(down.trouble.find("all nodes together have 3.0 GiB free"), std::string::npos)
      << down.trouble;
  EXPECT_NEAR(down.down_s, 55, 1e-9);
  const PipelineOutcome back =
      Play(AtOnce(2, 100, R"(,"events":[)" + gone + R"(,{"at":"40s","node":"b","what":"return"}])"),
           600);
  EXPECT_EQ(back.answered, 2u);
  EXPECT_EQ(back.answer_tokens, 200u);
  ASSERT_EQ(back.cuts.size(), 2u);
  EXPECT_GT(back.cuts[1].from_s, 41);
}

TEST(PipelineSimulationTest, AFailureWhileLayersAreReadHasThePlanMadeAgain) {
  // b goes, and c while the second plan, which must have it, is being loaded; a and b are left when b is back.
  const PipelineOutcome outcome = Play(
      AtOnce(
          2, 50,
          R"(,"events":[{"at":"5s","node":"b","what":"fail"},{"at":"6.5s","node":"c","what":"fail"},{"at":"20s","node":"b","what":"return"}])"),
      600);
  EXPECT_EQ(outcome.answered, 2u);
  EXPECT_EQ(outcome.answer_tokens, 100u);
  ASSERT_EQ(outcome.cuts.size(), 2u);
  for (const StageOutcome& stage : outcome.cuts[1].stages) EXPECT_NE(stage.place, "c");
}

TEST(PipelineSimulationTest, ANodeThatIsInNoStageMayFail) {
  const PipelineOutcome outcome =
      Play(AtOnce(2, 50, R"(,"events":[{"at":"2s","node":"c","what":"fail"}])"), 600);
  EXPECT_EQ(outcome.cuts.size(), 1u);
  EXPECT_DOUBLE_EQ(outcome.down_s, 0);
  EXPECT_EQ(outcome.answered, 2u);
}

TEST(PipelineSimulationTest, ASlowNodeSlowsAllOfIt) {
  const PipelineOutcome outcome =
      Play(AtOnce(4, 1'000'000, R"(,"events":[{"at":"0s","node":"b","what":"slow","factor":0.5}])"),
           1000, 100);
  EXPECT_NEAR(static_cast<double>(outcome.answer_tokens) / 900, 1 / 0.3, 0.01);
}

TEST(PipelineSimulationTest, WhatOnePlaceHoldsIsNotCut) {
  PipelineScenario scenario = AtOnce(3, 1'000'000);
  scenario.nodes[2].total.memory_bytes = scenario.nodes[2].free_memory_bytes = int64_t{8} << 30;
  const PipelineOutcome outcome = Play(scenario, 1000, 100);
  ASSERT_EQ(outcome.cuts[0].stages.size(), 1u);
  EXPECT_EQ(outcome.cuts[0].stages[0].place, "c");
  EXPECT_NEAR(static_cast<double>(outcome.answer_tokens) / 900, 1 / 0.8, 0.01);
}

TEST(PipelineSimulationTest, WhatDoesNotFitAtTheBeginningIsRefused) {
  PipelineScenario scenario = AtOnce(1, 1);
  scenario.model.memory_bytes = int64_t{20} << 30;
  const auto outcome = SimulatePipeline(scenario, {});
  ASSERT_FALSE(outcome.ok());
  EXPECT_EQ(outcome.status().code(), Code::kUnavailable);
}

TEST(PipelineSimulationTest, AtMostSoManyAreInFlightAndTheSameSeedGivesTheSame) {
  PipelineScenario scenario = Parsed(Text(R"(,"prompt":100,"answer":20,"in_flight":1)"));
  const PipelineOutcome alone = Play(scenario, 300);
  // Alone, and after each other: no token waits for another sequence's.
  EXPECT_NEAR(alone.inter_token.mean_s(), 0.2515, 1e-6);
  EXPECT_GT(alone.unanswered, 0u);
  scenario.in_flight = 8;
  const PipelineOutcome one = Play(scenario, 300), other = Play(scenario, 300);
  EXPECT_GT(one.answer_tokens, alone.answer_tokens);
  EXPECT_EQ(one.arrived, one.answered + one.unanswered);
  EXPECT_EQ(ToJson(scenario, {}, one).dump(), ToJson(scenario, {}, other).dump());
}

TEST(PipelineFileTest, WhatIsWrongIsNamedWithItsPlace) {
  const auto expect_refused = [](const std::string& text, const std::string& words) {
    EXPECT_TRUE(IsPipeline(text)) << text;
    const auto scenario = ParsePipeline(text, kNoFiles);
    ASSERT_FALSE(scenario.ok()) << text;
    EXPECT_NE(scenario.status().message().find(words), std::string::npos)
        << scenario.status().message();
  };
  expect_refused(R"({"pipeline":{}})", "'nodes' is missing");
  expect_refused(R"({"nodes":[],"tasks":[],"pipeline":1})", "nodes: expected at least one");
  expect_refused(Text(R"(,"promt":3)"), "did you mean 'prompt'?");
  expect_refused(Text(R"(,"prompt":0)"), "pipeline.prompt: expected a whole number");
  expect_refused(Text(R"(,"load":"0B")"), "pipeline.load: expected more than 0");
  expect_refused(Text(R"(,"model":"dwarf")"), "there is no task 'dwarf'");
  expect_refused(Text("", R"(,"events":{})"), "events: expected a list");
  expect_refused(Text("", R"(,"events":[{"at":"1s","node":"x","what":"fail"}])"),
                 "events[0].node: there is no node 'x'");
  std::string text = Text("");
  text.replace(text.find("poisson:1"), 9, "poisson:0");
  expect_refused(text, "pipeline.arrivals: ");
  text = Text("");
  text.replace(text.find(R"("layers":4,)"), 11, "");
  text.replace(text.find(R"(,"boundary":"500B")"), 18, "");
  expect_refused(text, "tasks: expected one with layers");
  EXPECT_FALSE(IsPipeline("{}"));
  EXPECT_FALSE(IsPipeline("pipeline"));
}

}  // namespace
}  // namespace evenkeel::sim
