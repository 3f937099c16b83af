// Texts to vectors and scores with tiny models, against llama.cpp's own pooling, one text at a time.
#include "engines/llamacpp/text_loop.h"

#include <gtest/gtest.h>
#include <llama.h>
#include <unistd.h>

#include <cmath>
#include <cstdio>
#include <map>
#include <numeric>
#include <random>

#include "core/format.h"
#include "engines/llamacpp/tiny_gguf.h"

namespace evenkeel {
namespace {

using Tokens = std::vector<int32_t>;
using Row = std::vector<float>;

// Products of other shapes add up in another order, attention is in half precision, and so is what BERT's activation is looked up by. The
// largest difference of any number was 1.2e-3.
constexpr double kClose = 2e-3;
constexpr double kApart = 5e-2;  // what two texts' vectors differ by at least

class Collector final : public TextSink {
 public:
  void Vector(const TextEnd& end) override {
    EXPECT_TRUE(ends.emplace(end.id, end).second) << "a second end of " << end.id;
  }
  void TextsStepped(const TextReport& report) override { reports.push_back(report); }

  std::map<uint64_t, TextEnd> ends;
  std::vector<TextReport> reports;
};

double Distance(const Row& a, const Row& b) {
  EXPECT_EQ(a.size(), b.size());
  double most = 0;
  for (size_t i = 0; i < std::min(a.size(), b.size()); ++i)
    most = std::max(most, std::abs(static_cast<double>(a[i]) - static_cast<double>(b[i])));
  return most;
}

double Length(const Row& row) {
  return std::sqrt(std::inner_product(row.begin(), row.end(), row.begin(), 0.0));
}

Tokens RandomTokens(std::mt19937& random, int length) {
  std::uniform_int_distribution<int32_t> token(5, kTinyVocabulary - 1);
  Tokens tokens(static_cast<size_t>(length));
  for (int32_t& one : tokens) one = token(random);
  return tokens;
}

class TextLoopTest : public testing::TestWithParam<std::tuple<bool, Pooling>> {
 protected:
  void TearDown() override {
    model_.reset();
    std::remove(path_.c_str());
  }
  void Load(TinyGguf settings) {
    path_ = testing::TempDir() + fmt::format("text_loop_{}.gguf", ::getpid());
    WriteTinyGguf(settings, path_);
    LlmLoad load;
    load.path = path_;
    auto model = LlamaModel::Load(load);
    ASSERT_TRUE(model.ok()) << model.status().ToString();
    model_ = std::move(*model);
  }
  std::vector<Row> Compute(const std::vector<Tokens>& texts, Duration answers = {}) {
    Collector sink;
    TextLoop loop(*model_, {}, SteadyClock::Instance(), sink);
    for (size_t i = 0; i < texts.size(); ++i) loop.Start({i + 1, texts[i], 8});
    while (!loop.idle()) loop.Step(answers);
    steps_ = static_cast<int>(sink.reports.size());
    std::vector<Row> rows;
    for (size_t i = 0; i < texts.size(); ++i) {
      const TextEnd& end = sink.ends.at(i + 1);
      EXPECT_TRUE(end.status.ok()) << end.status.ToString();
      rows.push_back(end.values);
    }
    EXPECT_EQ(sink.reports.back().running + sink.reports.back().waiting, 0);
    return rows;
  }
  // By the engine's own pooling, alone in a context of its own.
  Row Reference(const Tokens& text, Pooling pooling) {
    llama_context_params params = llama_context_default_params();
    params.n_ctx = params.n_batch = params.n_ubatch = 1024;
    params.n_threads = params.n_threads_batch = 1;
    params.embeddings = true;
    params.pooling_type = static_cast<enum llama_pooling_type>(pooling);
    llama_context* context = llama_init_from_model(model_->model(), params);
    Tokens tokens = text;
    const llama_batch batch = llama_batch_get_one(tokens.data(), static_cast<int>(tokens.size()));
    EXPECT_EQ(llama_get_memory(context) != nullptr ? llama_decode(context, batch)
                                                   : llama_encode(context, batch),
              0);
    const float* values = llama_get_embeddings_seq(context, 0);
    Row row(values, values + (pooling == Pooling::kRank ? 1 : kTinyWidth));
    llama_free(context);
    if (pooling == Pooling::kRank) return {1 / (1 + std::exp(-row[0]))};
    const double length = Length(row);
    for (float& number : row) number = static_cast<float>(number / length);
    return row;
  }

  std::string path_;
  std::unique_ptr<LlamaModel> model_;
  int steps_ = 0;
};

TEST_P(TextLoopTest, GivesTheEnginesOwnVectorsAloneAndAmongOthers) {
  const auto [encoder, pooling] = GetParam();
  Load({.encoder = encoder, .pooling = pooling, .head = pooling == Pooling::kRank});
  std::mt19937 random(7);
  std::vector<Tokens> texts;
  for (int i = 0; i < 40; ++i) texts.push_back(RandomTokens(random, 1 + i * 5));
  texts.push_back(texts[20]);
  const std::vector<Row> together = Compute(texts);
  EXPECT_LT(steps_, 40) << "texts do not share steps";
  double most = 0;
  for (size_t i = 0; i < texts.size(); ++i) {
    const double to_reference = Distance(together[i], Reference(texts[i], pooling));
    const double to_alone = Distance(together[i], Compute({texts[i]})[0]);
    EXPECT_LT(to_reference, kClose) << i;
    EXPECT_LT(to_alone, kClose) << i;
    most = std::max({most, to_reference, to_alone});
    if (pooling == Pooling::kRank) continue;
    EXPECT_NEAR(Length(together[i]), 1, 1e-5);
    if (i > 0) {
      EXPECT_GT(Distance(together[i], together[i - 1]), kApart) << i;
    }
  }
  std::printf("largest difference: %g\n", most);
  EXPECT_LT(Distance(together[20], together[40]), kClose);
}

// One who asks among strangers gets what they would get among others: no number tells of a neighbour.
TEST_P(TextLoopTest, NeighboursLeaveNoTrace) {
  const auto [encoder, pooling] = GetParam();
  Load({.encoder = encoder, .pooling = pooling, .head = pooling == Pooling::kRank});
  std::mt19937 random(11);
  const Tokens mine = RandomTokens(random, 30);
  Row first;
  for (int round = 0; round < 6; ++round) {
    std::vector<Tokens> texts;
    for (int i = 0; i < 12; ++i) texts.push_back(RandomTokens(random, 30));
    texts[static_cast<size_t>(round)] = mine;
    const Row row = Compute(texts)[static_cast<size_t>(round)];
    if (round == 0) first = row;
    EXPECT_LT(Distance(first, row), kClose);
  }
}

INSTANTIATE_TEST_SUITE_P(
    Kinds, TextLoopTest,
    testing::Values(std::tuple(false, Pooling::kMean), std::tuple(false, Pooling::kLast),
                    std::tuple(false, Pooling::kCls), std::tuple(true, Pooling::kMean),
                    std::tuple(true, Pooling::kLast), std::tuple(true, Pooling::kCls),
                    std::tuple(true, Pooling::kRank)),
    [](const auto& kind) {
      return fmt::format("{}_{}", std::get<0>(kind.param) ? "encoder" : "decoder",
                         NameOf(std::get<1>(kind.param)));
    });

class LongTextTest : public TextLoopTest {};
INSTANTIATE_TEST_SUITE_P(Kinds, LongTextTest,
                         testing::Values(std::tuple(false, Pooling::kMean),
                                         std::tuple(true, Pooling::kMean)));

// Longer than the context for texts is at first, and than a step.
TEST_P(LongTextTest, TextsAsLongAsTheModelsContextAreComputed) {
  const auto [encoder, pooling] = GetParam();
  Load({.encoder = encoder, .pooling = pooling, .context = 3000});
  std::mt19937 random(3);
  const std::vector<Tokens> texts = {RandomTokens(random, 20), RandomTokens(random, 3000),
                                     RandomTokens(random, 10)};
  const std::vector<Row> rows = Compute(texts);
  for (size_t i : {0, 2}) EXPECT_LT(Distance(rows[i], Reference(texts[i], pooling)), kClose);
  EXPECT_NEAR(Length(rows[1]), 1, 1e-5);
  EXPECT_LT(Distance(rows[1], Compute({texts[1]})[0]), kClose);
}

TEST_P(LongTextTest, WhatIsGivenBackIsSaid) {
  const auto [encoder, pooling] = GetParam();
  Load({.encoder = encoder, .pooling = pooling, .context = 3000});
  std::mt19937 random(3);
  Collector sink;
  TextLoop loop(*model_, {}, SteadyClock::Instance(), sink);
  ASSERT_TRUE(loop.Prepare().ok());
  const int64_t usual = sink.reports.back().bytes;
  EXPECT_GT(usual, 0);
  EXPECT_EQ(sink.reports.back().took, Duration::zero());
  loop.Start({1, RandomTokens(random, 3000), 8});
  int64_t most = 0;
  while (!loop.idle()) {
    loop.Step({});
    most = std::max(most, sink.reports.back().bytes);
  }
  EXPECT_EQ(sink.reports.back().bytes, usual);
  if (!encoder) {
    EXPECT_GT(most, usual);
  }
}

TEST_P(LongTextTest, LogitsAreLeftOutWhereVectorsDoNotNeedThem) {
  const auto [encoder, pooling] = GetParam();
  Load({.encoder = encoder, .pooling = pooling});
  Collector sink;
  TextLoop loop(*model_, {}, SteadyClock::Instance(), sink);
  ASSERT_TRUE(loop.Prepare().ok());
  EXPECT_EQ(loop.context().leaves_logits_out(), !encoder);
}

class TextsTest : public TextLoopTest {};
INSTANTIATE_TEST_SUITE_P(Decoder, TextsTest, testing::Values(std::tuple(false, Pooling::kMean)));

TEST_P(TextsTest, BesideAnswersAStepIsSmall) {
  Load({.pooling = Pooling::kMean});
  std::mt19937 random(5);
  const std::vector<Tokens> texts = {RandomTokens(random, 250), RandomTokens(random, 250)};
  Compute(texts);
  const int alone = steps_;
  Compute(texts, std::chrono::seconds(
                     1));  // no objective can be kept beside such a step: a little goes on
  EXPECT_GT(steps_, alone);
}

TEST_P(TextsTest, WhatCannotBeIsRefusedAndTheOthersGoOn) {
  Load({.pooling = Pooling::kMean});
  Collector sink;
  TextLoop loop(*model_, {}, SteadyClock::Instance(), sink);
  loop.Start({1, {5, kTinyVocabulary}, 8});
  loop.Start({2, {5, -1}, 8});
  loop.Start({3, Tokens(257, 5), 8});
  loop.Start({4, Tokens(256, 5), 8});
  while (!loop.idle()) loop.Step({});
  for (const uint64_t id : {1, 2, 3})
    EXPECT_EQ(sink.ends.at(id).status.code(), Code::kInvalidArgument) << id;
  EXPECT_TRUE(sink.ends.at(4).status.ok());
}

TEST_P(TextsTest, AStepThatFailsIsDoneAgainTextByText) {
  Load({.pooling = Pooling::kMean});
  std::mt19937 random(9);
  std::vector<Tokens> texts;
  for (int i = 0; i < 10; ++i) texts.push_back(RandomTokens(random, 20));
  const std::vector<Row> wanted = Compute(texts);
  for (const bool once : {true, false}) {
    Collector sink;
    TextLoop loop(*model_, {}, SteadyClock::Instance(), sink);
    ASSERT_TRUE(loop.Prepare().ok());
    for (size_t i = 0; i < texts.size(); ++i) loop.Start({i + 1, texts[i], 8});
    llama_set_abort_callback(
        loop.context().context(), [](void*) { return true; }, nullptr);
    loop.Step({});
    EXPECT_TRUE(sink.ends.empty());
    if (once) {
      llama_set_abort_callback(
          loop.context().context(), [](void*) { return false; }, nullptr);
    }
    while (!loop.idle()) loop.Step({});
    ASSERT_EQ(sink.ends.size(), texts.size());
    for (size_t i = 0; i < texts.size(); ++i) {
      const TextEnd& end = sink.ends.at(i + 1);
      EXPECT_EQ(end.status.code(), once ? Code::kOk : Code::kInternal);
      if (once) {
        EXPECT_LT(Distance(end.values, wanted[i]), kClose);
      }
    }
    EXPECT_EQ(sink.reports.back().running + sink.reports.back().waiting, 0);
  }
}

TEST_P(TextsTest, WhatIsCancelledEndsWithoutAWordAndTheFiguresSaySo) {
  Load({.pooling = Pooling::kMean});
  Collector sink;
  TextLoop loop(*model_, {}, SteadyClock::Instance(), sink);
  loop.Start({1, Tokens(250, 6), 8});
  loop.Start({2, Tokens(250, 7), 8});
  loop.Step(std::chrono::seconds(1));  // begins them
  EXPECT_GT(sink.reports.back().running, 0);
  loop.Cancel(1);
  loop.Cancel(2);
  loop.Cancel(3);
  EXPECT_TRUE(loop.idle());
  EXPECT_TRUE(sink.ends.empty());
  EXPECT_EQ(sink.reports.back().running, 0);
  // Their places are free again.
  std::vector<Tokens> texts(70, Tokens(10, 8));
  for (size_t i = 0; i < texts.size(); ++i) loop.Start({10 + i, texts[i], 8});
  while (!loop.idle()) loop.Step({});
  EXPECT_EQ(sink.ends.size(), texts.size());
}

}  // namespace
}  // namespace evenkeel
