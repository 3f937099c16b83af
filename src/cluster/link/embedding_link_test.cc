// Calls for vectors and scores over a real link, and their messages.
#include <gtest/gtest.h>

#include <cmath>
#include <condition_variable>
#include <limits>
#include <mutex>
#include <thread>

#include "cluster/link/embedding_message.h"
#include "cluster/link/link_client.h"
#include "cluster/link/link_server.h"
#include "core/format.h"
#include "proto/node.pb.h"

namespace evenkeel {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

class PlainCall final : public EmbeddingCall {
 public:
  void Done(const Status&, const std::vector<std::vector<float>>&, int) override {}
};

// A row a text: its length and its place, or half its length where there is a query. Or it holds the call until that is cancelled.
class LengthModel final : public LanguageModel {
 public:
  ~LengthModel() override {
    for (std::thread& thread : threads_) thread.join();
  }
  LanguageModelInfo Info() const override { return {}; }
  void Generate(GenerationCall* call) override { call->Done(Internal("not this"), {}); }
  void Cancel(GenerationCall* /*call*/) override {}
  void Embed(EmbeddingCall* call) override {
    {
      const std::lock_guard lock(mutex_);
      left = call->deadline == kNever ? Duration() : call->deadline - call->arrived;
      priority = call->priority;
      truncate = call->truncate;
      query = call->query.value_or("");
      if (hold) {
        held_ = call;
        changed_.notify_all();
        return;
      }
    }
    if (!error.ok()) return call->Done(error, {}, 0);
    std::vector<std::vector<float>> rows;
    const size_t count = std::max(call->texts.size(), call->tokens.size());
    for (size_t i = 0; i < count; ++i) {
      const auto size =
          static_cast<float>(call->texts.empty() ? call->tokens[i].size() : call->texts[i].size());
      rows.push_back(call->query ? std::vector{size / 2}
                                 : std::vector{size, static_cast<float>(i)});
    }
    call->Done(Status::Ok(), rows, 11);
  }
  void CancelEmbedding(EmbeddingCall* call) override {
    const std::lock_guard lock(mutex_);
    ++cancels;
    if (held_ != call) return;
    held_ = nullptr;
    threads_.emplace_back([call] { call->Done(Cancelled("the client went away"), {}, 0); });
  }
  void AwaitHeld() {
    std::unique_lock lock(mutex_);
    ASSERT_TRUE(changed_.wait_for(lock, seconds(20), [this] { return held_ != nullptr; }));
  }

  bool hold = false, truncate = false;
  Status error;
  Duration left{};
  int priority = 0, cancels = 0;
  std::string query;

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  EmbeddingCall* held_ = nullptr;
  std::vector<std::thread> threads_;
};

class Host final : public NodeHost {
 public:
  bool IsOfCluster(std::string_view /*node*/) const override { return true; }
  NodeFigures FiguresFor(const NodeFigures& /*theirs*/) override { return {}; }
  void OnFigures(const NodeFigures& /*theirs*/) override {}
  Status SetOwnState(std::string_view /*state*/) override { return Status::Ok(); }
  Result<std::shared_ptr<ServedModel>> FindOwn(std::string_view name, std::string_view) override {
    return NotFound("unknown model '{}'", name);
  }
  Result<std::shared_ptr<LanguageModel>> FindOwnLanguage(std::string_view name) override {
    if (name != "lengths") return NotFound("unknown model '{}'", name);
    return std::shared_ptr<LanguageModel>(model);
  }
  std::shared_ptr<LengthModel> model = std::make_shared<LengthModel>();
};

struct End {
  std::mutex mutex;
  std::condition_variable changed;
  int ends = 0;
  EmbeddingAnswer answer;
  bool link_failed = false;

  LinkClient::OnEmbeddingEnd Callback() {
    return [this](const EmbeddingAnswer& told, bool failed) {
      const std::lock_guard lock(mutex);
      ++ends;
      answer = told;
      link_failed = failed;
      changed.notify_all();
    };
  }
  void Await() {
    std::unique_lock lock(mutex);
    ASSERT_TRUE(changed.wait_for(lock, seconds(20), [this] { return ends > 0; }));
    EXPECT_EQ(ends, 1);
  }
};

class EmbeddingLinkTest : public testing::Test {
 protected:
  void Begin(size_t max_message_bytes = size_t{64} << 20) {
    auto server = LinkServer::Start(host_, SteadyClock::Instance(), {});
    ASSERT_TRUE(server.ok()) << server.status().ToString();
    server_ = std::move(*server);
    LinkClientOptions options;
    options.address = fmt::format("127.0.0.1:{}", server_->port());
    options.max_message_bytes = max_message_bytes;
    client_ = std::make_unique<LinkClient>(options);
  }
  std::shared_ptr<LinkClient::Running> Embed(End& end, std::string_view model = "lengths") {
    return client_->Embed(call_, model, SteadyClock::Instance().Now(), end.Callback());
  }

  PlainCall call_;
  Host host_;
  std::unique_ptr<LinkServer> server_;
  std::unique_ptr<LinkClient> client_;
};

TEST_F(EmbeddingLinkTest, VectorsComeBackInTheOrderOfTheirTexts) {
  Begin();
  call_.texts = {"one", "fifteen", ""};
  call_.priority = 3;
  call_.truncate = true;
  call_.deadline = SteadyClock::Instance().Now() + seconds(9);
  End end;
  Embed(end);
  end.Await();
  ASSERT_TRUE(end.answer.status.ok()) << end.answer.status.ToString();
  EXPECT_EQ(end.answer.rows, (std::vector<std::vector<float>>{{3, 0}, {7, 1}, {0, 2}}));
  EXPECT_EQ(end.answer.prompt_tokens, 11);
  EXPECT_EQ(host_.model->priority, 3);
  EXPECT_TRUE(host_.model->truncate);
  EXPECT_GT(host_.model->left, seconds(5));
  EXPECT_LE(host_.model->left, seconds(9));
}

TEST_F(EmbeddingLinkTest, TokensAreCarriedAsWell) {
  Begin();
  call_.tokens = {{1, 2, 3}, {4}};
  End end;
  Embed(end);
  end.Await();
  EXPECT_EQ(end.answer.rows, (std::vector<std::vector<float>>{{3, 0}, {1, 1}}));
  EXPECT_EQ(host_.model->left, Duration());
}

TEST_F(EmbeddingLinkTest, AQueryMakesScores) {
  Begin();
  call_.texts = {"abcd", "ab"};
  call_.query = "which?";
  End end;
  Embed(end);
  end.Await();
  EXPECT_EQ(end.answer.rows, (std::vector<std::vector<float>>{{2}, {1}}));
  EXPECT_EQ(host_.model->query, "which?");
}

TEST_F(EmbeddingLinkTest, AnErrorOfTheModelIsNotAFailureOfTheLink) {
  Begin();
  call_.texts = {"a"};
  for (const bool query : {false, true}) {
    if (query) call_.query = "q";
    host_.model->error = Overloaded("full");
    End refused, unknown;
    Embed(refused);
    refused.Await();
    EXPECT_EQ(refused.answer.status.code(), Code::kOverloaded);
    EXPECT_FALSE(refused.link_failed);
    Embed(unknown, "none");
    unknown.Await();
    EXPECT_EQ(unknown.answer.status.code(), Code::kNotFound);
    EXPECT_FALSE(unknown.link_failed);
  }
}

TEST_F(EmbeddingLinkTest, ACancelledCallIsCancelledThere) {
  Begin();
  host_.model->hold = true;
  call_.texts = {"a"};
  End end;
  const auto running = Embed(end);
  host_.model->AwaitHeld();
  running->Cancel();
  end.Await();
  EXPECT_EQ(end.answer.status.code(), Code::kCancelled);
  EXPECT_FALSE(end.link_failed);
  server_.reset();
  EXPECT_EQ(host_.model->cancels, 1);
}

TEST_F(EmbeddingLinkTest, ALostNodeIsAFailureOfTheLink) {
  Begin();
  server_.reset();
  call_.texts = {"a"};
  End end;
  Embed(end);
  end.Await();
  EXPECT_TRUE(end.link_failed);
  EXPECT_FALSE(end.answer.status.ok());
}

TEST_F(EmbeddingLinkTest, AnAnswerBeyondTheLimitIsRefused) {
  Begin(/*max_message_bytes=*/4000);
  call_.texts.assign(500, "x");
  End end;
  Embed(end);
  end.Await();
  EXPECT_EQ(end.answer.status.code(), Code::kTooLarge) << end.answer.status.ToString();
  EXPECT_FALSE(end.link_failed);
}

TEST(EmbeddingMessageTest, WhatNoNodeOfOursSaysIsRefused) {
  PlainCall call;
  const Time now = SteadyClock::Instance().Now();
  node::v1::EmbedRequest embed;
  EXPECT_EQ(ReadEmbedding(embed, now, &call).code(), Code::kInvalidArgument) << "no text";
  embed.add_texts("a");
  embed.add_tokens()->add_tokens(1);
  EXPECT_EQ(ReadEmbedding(embed, now, &call).code(), Code::kInvalidArgument) << "both";
  embed.clear_tokens();
  embed.set_priority(17);
  EXPECT_EQ(ReadEmbedding(embed, now, &call).code(), Code::kInvalidArgument) << "priority";
  embed.set_priority(0);
  embed.set_left_ns(-1);
  EXPECT_EQ(ReadEmbedding(embed, now, &call).code(), Code::kInvalidArgument) << "deadline";
  node::v1::RankRequest rank;
  rank.set_query("q");
  EXPECT_EQ(ReadEmbedding(rank, now, &call).code(), Code::kInvalidArgument) << "no document";
}

TEST(EmbeddingMessageTest, NumbersThatAreNoneAreTheOtherNodesFault) {
  node::v1::EmbedResponse vectors;
  vectors.add_vectors()->add_values(1);
  EXPECT_TRUE(ReadEmbeddingAnswer(vectors).status.ok());
  vectors.add_vectors()->add_values(std::numeric_limits<float>::quiet_NaN());
  EmbeddingAnswer answer = ReadEmbeddingAnswer(vectors);
  EXPECT_EQ(answer.status.code(), Code::kInternal);
  EXPECT_TRUE(answer.rows.empty());
  node::v1::RankResponse scores;
  scores.add_scores(std::numeric_limits<float>::infinity());
  EXPECT_EQ(ReadEmbeddingAnswer(scores).status.code(), Code::kInternal);
  scores.mutable_outcome()->set_code(9999);
  EXPECT_EQ(ReadEmbeddingAnswer(scores).status.code(), Code::kInternal);
}

TEST(EmbeddingMessageTest, ARowThatIsNoScoreIsMissing) {
  node::v1::RankResponse message;
  WriteEmbeddingAnswer({Status::Ok(), {{0.5F}, {0.1F, 0.2F}}, 3}, &message);
  EXPECT_EQ(ReadEmbeddingAnswer(message).rows.size(), 1);
}

}  // namespace
}  // namespace evenkeel
