// The prompt process with the real one: what a request that does not end costs, and a template that does not.
#include <gtest/gtest.h>
#include <signal.h>

#include <chrono>
#include <cstdlib>
#include <filesystem>
#include <future>
#include <thread>
#include <vector>

#include "llm/prompt_service.h"
#include "server/language_test_kit.h"

// The kit has EVENKEEL_BINARY_DIR of the file that includes it.
namespace evenkeel {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

class PromptServiceTest : public LanguageTest {
 protected:
  void SetUp() override {
    LanguageTest::SetUp();
    if (IsSkipped()) return;
    options_.name = "m";
    options_.path = ModelPath();
  }
  void TearDown() override {
    if (loop_ == nullptr) return;
    OnLoop([this] {
      if (service_ != nullptr) service_->Stop();
    });
    OnLoop([this] { service_.reset(); });
    loop_->Stop();
  }
  Result<LlmLoaded> Start() {
    context_.emplace(Context());
    service_ = std::make_unique<PromptService>(*context_, options_);
    auto loaded = std::make_shared<std::promise<Result<LlmLoaded>>>();
    loop_->Post([this, loaded] {
      service_->Start([loaded](Result<LlmLoaded> of) { loaded->set_value(std::move(of)); });
    });
    return loaded->get_future().get();
  }
  // The tokens of a prompt, once they come.
  std::future<Result<PreparedPrompt>> Ask(GenerationRequest request) {
    auto answer = std::make_shared<std::promise<Result<PreparedPrompt>>>();
    auto future = answer->get_future();
    loop_->Post([this, answer, request = std::move(request)] {
      service_->Prepare(request,
                        [answer](Result<PreparedPrompt> of) { answer->set_value(std::move(of)); });
    });
    return future;
  }
  std::future<Result<PreparedPrompt>> Ask(const std::string& prompt) {
    GenerationRequest request;
    request.prompt = prompt;
    return Ask(std::move(request));
  }
  pid_t Pid() {
    pid_t pid = 0;
    OnLoop([&] { pid = service_->pid(); });
    return pid;
  }

  LlmOptions options_;
  std::optional<LlmContext> context_;
  std::unique_ptr<PromptService> service_;
};

TEST_F(PromptServiceTest, WhatDoesNotEndHasItsTimeHoweverManyComeBehindIt) {
  options_.prompt_limit = seconds(2);
  ASSERT_TRUE(Start().ok());
  ASSERT_TRUE(Ask("One").get().ok());
  const pid_t first = Pid();
  ASSERT_EQ(::kill(first, SIGSTOP), 0);
  auto head = Ask("Two");
  // The others' arrival gives it no more time.
  std::vector<std::future<Result<PreparedPrompt>>> others;
  const auto begin = std::chrono::steady_clock::now();
  while (head.wait_for(milliseconds(100)) != std::future_status::ready) {
    ASSERT_LT(std::chrono::steady_clock::now() - begin, seconds(30));
    others.push_back(Ask("Three"));
  }
  const auto refused = head.get();
  EXPECT_EQ(refused.status().code(), Code::kInvalidArgument);
  EXPECT_NE(refused.status().message().find("longer than 2 s"), std::string::npos)
      << refused.status().ToString();
  ASSERT_GT(others.size(), 5u);
  for (auto& other : others) {
    const auto prompt = other.get();
    ASSERT_TRUE(prompt.ok()) << prompt.status().ToString();
    EXPECT_FALSE(prompt->tokens.empty());
  }
  EXPECT_NE(Pid(), first);
}

TEST_F(PromptServiceTest, ATemplateThatDoesNotEndIsLeftOutAndTheModelIsServed) {
  options_.prompt_load_limit = Duration::zero();  // nothing is read in that time
  const auto loaded = Start();
  ASSERT_TRUE(loaded.ok()) << loaded.status().ToString();
  EXPECT_FALSE(loaded->chat);
  EXPECT_TRUE(Ask("One").get().ok());
  GenerationRequest chat;
  chat.chat = R"({"messages":[{"role":"user","content":"Hello"}]})";
  const auto refused = Ask(chat).get();
  EXPECT_EQ(refused.status().code(), Code::kUnsupported);
  EXPECT_NE(refused.status().message().find("chat template is not used"), std::string::npos)
      << refused.status().ToString();
}

// 2^24 ways through it from the first letter on. Those that come later are the worker's (LanguageModelTest).
TEST_F(PromptServiceTest, AGrammarWhoseWaysDoubleIsRefusedWhereItBeginsWithThem) {
  ASSERT_TRUE(Start().ok());
  std::string rules;
  for (int i = 0; i < 24; ++i) {
    const std::string next = "r" + std::to_string(i + 1);
    rules += "r" + std::to_string(i) + " ::= " + next + " \"x\" | " + next + " \"y\"\n";
  }
  GenerationRequest request;
  request.prompt = "One";
  request.grammar = "root ::= r0\n" + rules + "r24 ::= \"z\"\n";
  const pid_t pid = Pid();
  const auto refused = Ask(request).get();
  EXPECT_EQ(refused.status().code(), Code::kInvalidArgument);
  EXPECT_NE(refused.status().message().find("too many ways"), std::string::npos)
      << refused.status().ToString();
  EXPECT_EQ(Pid(), pid);
  // A long list is none of these.
  request.grammar = "root ::= ";
  for (int i = 0; i < 3000; ++i)
    request.grammar += (i > 0 ? " | \"w" : "\"w") + std::to_string(i) + "\"";
  const auto list = Ask(request).get();
  EXPECT_TRUE(list.ok()) << list.status().ToString();
}

}  // namespace
}  // namespace evenkeel
