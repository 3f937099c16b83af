// Calls for vectors against real processes and a real model: SmolLM2-135M-Instruct, as models/make.sh makes it. What vectors are right is
// tested in engines/llamacpp and tests/conformance/test_embeddings.py; here, that every call ends once and as it should.
#include <gtest/gtest.h>
#include <signal.h>

#include <cmath>
#include <condition_variable>
#include <cstdlib>
#include <filesystem>
#include <functional>
#include <future>
#include <mutex>
#include <numeric>
#include <thread>

#include "llm/llm_model.h"
#include "server/language_test_kit.h"

// The kit has EVENKEEL_BINARY_DIR of the file that includes it.
namespace evenkeel {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

class TestCall final : public EmbeddingCall {
 public:
  explicit TestCall(std::vector<std::string> inputs) {
    texts = std::move(inputs);
    arrived = SteadyClock::Instance().Now();
  }
  void Done(const Status& ended, const std::vector<std::vector<float>>& vectors,
            int prompt_tokens) override {
    const std::lock_guard lock(mutex_);
    EXPECT_FALSE(done_) << "Done() came twice";
    status = ended;
    rows = vectors;
    used = prompt_tokens;
    done_ = true;
    changed_.notify_all();
  }
  const Status& Wait() {
    std::unique_lock lock(mutex_);
    EXPECT_TRUE(changed_.wait_for(lock, seconds(90), [this] { return done_; }));
    return status;
  }

  Status status;
  std::vector<std::vector<float>> rows;
  int used = 0;

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  bool done_ = false;
};

class EmbeddingCallsTest : public LanguageTest {
 protected:
  void TearDown() override {
    if (model_ != nullptr) Stop();
    if (loop_ != nullptr) loop_->Stop();
  }
  void Load(LlmOptions options = {}) {
    options.name = "smollm2";
    options.path = ModelPath();
    options.context = 512;
    LlmContext context = Context();
    model_ = std::make_shared<LlmModel>(context, options);
    std::promise<Status> ready;
    loop_->Post([&] { model_->Start([&](const Status& status) { ready.set_value(status); }); });
    const Status status = ready.get_future().get();
    ASSERT_TRUE(status.ok()) << status.ToString();
  }
  void Stop(bool abandon = false) {
    std::promise<void> stopped;
    loop_->Post([&] {
      model_->Stop([&] { stopped.set_value(); });
      if (abandon) model_->Abandon();
    });
    EXPECT_EQ(stopped.get_future().wait_for(seconds(60)), std::future_status::ready);
    model_.reset();
  }
  std::unique_ptr<TestCall> Ask(std::vector<std::string> texts) {
    auto call = std::make_unique<TestCall>(std::move(texts));
    model_->Embed(call.get());
    return call;
  }
  SequenceEngine::View Settled(const std::function<bool(const SequenceEngine::View&)>& settled) {
    SequenceEngine::View view = model_->Look().engine;
    for (int i = 0; i < 4000 && !settled(view); ++i) {
      std::this_thread::sleep_for(milliseconds(5));
      view = model_->Look().engine;
    }
    return view;
  }

  std::shared_ptr<LlmModel> model_;
};

const std::string kSentence = "The quick brown fox jumps over the lazy dog. ";

std::string Long(int times) {
  std::string text;
  for (int i = 0; i < times; ++i) text += kSentence;
  return text;
}

TEST_F(EmbeddingCallsTest, VectorsComeInOrderAndTheContextForThemOnDemand) {
  Load();
  EXPECT_EQ(model_->Look().engine.texts.bytes, 0);
  EXPECT_TRUE(model_->Info().embeddings && model_->Info().generates);
  auto call = Ask({"one", "two " + kSentence, "one"});
  ASSERT_TRUE(call->Wait().ok()) << call->status.ToString();
  ASSERT_EQ(call->rows.size(), 3u);
  for (const auto& row : call->rows) {
    ASSERT_EQ(row.size(), 576u);
    EXPECT_NEAR(std::inner_product(row.begin(), row.end(), row.begin(), 0.0), 1, 1e-5);
  }
  const auto cosine = [&](size_t a, size_t b) {
    return std::inner_product(call->rows[a].begin(), call->rows[a].end(), call->rows[b].begin(),
                              0.0);
  };
  EXPECT_GT(cosine(0, 2), 0.999);
  EXPECT_LT(cosine(0, 1), 0.99);
  EXPECT_GT(call->used, 10);
  EXPECT_GT(Settled([](const auto& view) { return view.texts.bytes > 0; }).texts.bytes, 0);
}

TEST_F(EmbeddingCallsTest, RefusesWhatCannotBe) {
  Load();
  EXPECT_EQ(Ask({})->Wait().code(), Code::kInvalidArgument);
  auto ranked = std::make_unique<TestCall>(std::vector<std::string>{"a"});
  ranked->query = "b";
  model_->Embed(ranked.get());
  EXPECT_EQ(ranked->Wait().code(), Code::kInvalidArgument);
  auto tokens = std::make_unique<TestCall>(std::vector<std::string>{});
  tokens->tokens = {{5}, {49152}};
  model_->Embed(tokens.get());
  EXPECT_EQ(tokens->Wait().code(), Code::kInvalidArgument);
  auto large = Ask({"a", Long(100)});
  EXPECT_EQ(large->Wait().code(), Code::kTooLarge);
  EXPECT_NE(large->status.message().find("text 1 has 1"), std::string::npos)
      << large->status.message();
  auto cut = std::make_unique<TestCall>(std::vector<std::string>{Long(100)});
  cut->truncate = true;
  model_->Embed(cut.get());
  EXPECT_TRUE(cut->Wait().ok());
  EXPECT_EQ(cut->used, 512);
}

TEST_F(EmbeddingCallsTest, OverloadIsRefusedAtOnceAndTheOthersAreAnswered) {
  LlmOptions options;
  options.slots = 1;
  options.max_waiting = 2;
  Load(options);
  std::vector<std::unique_ptr<TestCall>> calls;
  for (int i = 0; i < 8; ++i) calls.push_back(Ask(std::vector<std::string>(20, Long(5))));
  int refused = 0;
  for (auto& call : calls) {
    const Status& status = call->Wait();
    if (status.ok()) {
      EXPECT_EQ(call->rows.size(), 20u);
      continue;
    }
    EXPECT_EQ(status.code(), Code::kOverloaded) << status.ToString();
    ++refused;
  }
  EXPECT_EQ(refused, 5);
}

TEST_F(EmbeddingCallsTest, CancellingFreesTheWorker) {
  Load();
  auto call = Ask(std::vector<std::string>(500, Long(20)));
  Settled([](const auto& view) { return view.text_tokens > 0; });
  model_->CancelEmbedding(call.get());
  EXPECT_EQ(call->Wait().code(), Code::kCancelled);
  model_->CancelEmbedding(call.get());  // it is over
  const auto view =
      Settled([](const auto& now) { return now.texts.running + now.texts.waiting == 0; });
  EXPECT_EQ(view.texts.running + view.texts.waiting, 0);
  EXPECT_LT(view.text_tokens, 500u * 200);
  EXPECT_TRUE(Ask({"next"})->Wait().ok());
}

TEST_F(EmbeddingCallsTest, ADeadlineEndsACall) {
  Load();
  auto call = std::make_unique<TestCall>(std::vector<std::string>(500, Long(20)));
  call->deadline = SteadyClock::Instance().Now() + milliseconds(100);
  model_->Embed(call.get());
  EXPECT_EQ(call->Wait().code(), Code::kDeadlineExceeded);
  EXPECT_TRUE(call->rows.empty());
}

TEST_F(EmbeddingCallsTest, AShortCallDoesNotWaitForALongOne) {
  Load();
  auto slow = Ask(std::vector<std::string>(1000, Long(10)));
  Settled([](const auto& view) { return view.text_tokens > 0; });
  auto quick = Ask({"short"});
  EXPECT_TRUE(quick->Wait().ok());
  EXPECT_LT(model_->Look().engine.text_tokens, 1000u * 100 / 2);
  model_->CancelEmbedding(slow.get());
  EXPECT_EQ(slow->Wait().code(), Code::kCancelled);
}

TEST_F(EmbeddingCallsTest, AWorkerThatDiesIsReplacedAndTheCallIsAnswered) {
  Load();
  auto call = Ask(std::vector<std::string>(100, Long(2)));
  const auto view = Settled([](const auto& now) { return now.text_tokens > 0; });
  ::kill(view.pid, SIGKILL);
  EXPECT_TRUE(call->Wait().ok()) << call->status.ToString();
  EXPECT_EQ(call->rows.size(), 100u);
  EXPECT_EQ(model_->Look().engine.restarts, 1u);
}

TEST_F(EmbeddingCallsTest, AModelThatIsUnloadedAnswersWhatItTookOrSaysWhyNot) {
  Load();
  auto answered = Ask({kSentence, kSentence});
  auto held = model_;
  Stop();
  EXPECT_TRUE(answered->Wait().ok());
  auto late = std::make_unique<TestCall>(std::vector<std::string>{"a"});
  held->Embed(late.get());
  EXPECT_EQ(late->Wait().code(), Code::kUnavailable);
  held.reset();
  Load();
  auto given_up = Ask(std::vector<std::string>(1000, Long(20)));
  Settled([](const auto& view) { return view.text_tokens > 0; });
  Stop(/*abandon=*/true);
  EXPECT_EQ(given_up->Wait().code(), Code::kUnavailable);
}

}  // namespace
}  // namespace evenkeel
