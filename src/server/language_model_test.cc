// The room llm against its real processes and a real model: SmolLM2-135M-Instruct, as models/make.sh makes it.
#include <gtest/gtest.h>
#include <signal.h>

#include <condition_variable>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <functional>
#include <future>
#include <map>
#include <mutex>
#include <nlohmann/json.hpp>
#include <thread>

#include "core/format.h"
#include "llm/llm_model.h"
#include "server/language_test_kit.h"

// The kit has EVENKEEL_BINARY_DIR of the file that includes it.
namespace evenkeel {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

class TestCall final : public GenerationCall {
 public:
  TestCall() { arrived = SteadyClock::Instance().Now(); }

  void OnStart(int in_prompt) override { prompt_tokens = in_prompt; }
  void OnDelta(const GenerationDelta& delta) override {
    const std::lock_guard lock(mutex_);
    texts[delta.choice] += delta.text;
    tokens.insert(tokens.end(), delta.tokens.begin(), delta.tokens.end());
    for (const auto& call : delta.tool_calls) tools.push_back(call);
    for (const auto& one : delta.logprobs) logprobs.push_back(one);
    if (delta.logprobs.size() != delta.tokens.size()) ++uneven;
    if (!delta.text.empty()) ++deltas;
    changed_.notify_all();
  }
  void OnFinish(int choice, FinishReason reason) override { reasons[choice] = reason; }
  void MoveAsked(const MoveOffer& asked) override {
    const std::lock_guard lock(mutex_);
    offer = asked;
    asked_ = true;
    ++asked_to_move;
    changed_.notify_all();
  }
  void Done(const Status& ended, const GenerationUsage& used) override {
    const std::lock_guard lock(mutex_);
    EXPECT_FALSE(done_) << "Done() came twice";
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
  void WaitForText(int count) {
    std::unique_lock lock(mutex_);
    EXPECT_TRUE(changed_.wait_for(lock, seconds(60), [&] { return done_ || deltas >= count; }));
  }

  void WaitToBeAsked() {
    std::unique_lock lock(mutex_);
    EXPECT_TRUE(changed_.wait_for(lock, seconds(60), [&] { return done_ || asked_; }));
  }

  MoveOffer offer;
  std::map<int, std::string> texts;
  std::map<int, FinishReason> reasons;
  std::vector<ToolCallDelta> tools;
  std::vector<TokenLogprob> logprobs;
  std::vector<int32_t> tokens;
  int prompt_tokens = 0, deltas = 0;
  int uneven = 0;  // deltas with more tokens than log probabilities, or fewer
  int asked_to_move = 0;
  Status status;
  GenerationUsage usage;

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  bool done_ = false, asked_ = false;
};

class LanguageModelTest : public LanguageTest {
 protected:
  void TearDown() override {
    for (const auto& model : loaded_) {
      std::promise<void> stopped;
      loop_->Post([&] { model->Stop([&] { stopped.set_value(); }); });
      EXPECT_EQ(stopped.get_future().wait_for(seconds(30)), std::future_status::ready);
    }
    loaded_.clear();
    model_.reset();
    if (loop_ != nullptr) loop_->Stop();
  }

  Status Load(LlmOptions options = {}) {
    options.name = "smollm2";
    if (options.path.empty()) options.path = ModelPath();
    LlmContext context = Context();
    auto model = std::make_shared<LlmModel>(context, options);
    std::promise<Status> ready;
    loop_->Post([&] { model->Start([&](const Status& status) { ready.set_value(status); }); });
    const Status status = ready.get_future().get();
    if (status.ok()) {
      model_ = model;
      loaded_.push_back(model);
    }
    return status;
  }

  std::unique_ptr<TestCall> Greedy(const std::string& prompt, int tokens) {
    auto call = std::make_unique<TestCall>();
    call->request.prompt = prompt;
    call->request.max_tokens = tokens;
    call->request.sampling.temperature = 0;
    return call;
  }

  // An answer ends before the worker's next look at itself is here: figures of it are waited for, and the last are returned.
  StepReport Settled(const std::function<bool(const StepReport&)>& settled) {
    StepReport step = model_->Look().engine.step;
    for (int i = 0; i < 1000 && !settled(step); ++i) {
      std::this_thread::sleep_for(milliseconds(5));
      step = model_->Look().engine.step;
    }
    return step;
  }

  std::shared_ptr<LlmModel> model_;  // the last that was loaded
  std::vector<std::shared_ptr<LlmModel>> loaded_;
};

const char* const kPrompts[] = {"The capital of France is",
                                "Water boils at a temperature of",
                                "Once upon a time there was a little",
                                "def fibonacci(n):\n",
                                "The three primary colours are",
                                "In 1969, humans first"};

// Products of other shapes add up in another order: two answers may part where the two likeliest tokens were this close (in nats).
constexpr float kClose = 0.5F;

// Where `other` says something else than `alone`, it was a close call.
void ExpectSame(const TestCall& alone, const TestCall& other, const char* prompt) {
  const size_t both = std::min(alone.logprobs.size(), other.logprobs.size());
  for (size_t i = 0; i < both; ++i) {
    if (alone.logprobs[i].bytes == other.logprobs[i].bytes) continue;
    const auto& top = alone.logprobs[i].top;
    ASSERT_GE(top.size(), 2u);
    EXPECT_LT(top[0].second - top[1].second, kClose)
        << prompt << ": token " << i << " is '" << alone.logprobs[i].bytes << "' alone, '"
        << other.logprobs[i].bytes << "' among others";
    return;
  }
}

TEST_F(LanguageModelTest, AnswersAreTheSameAloneAndAmongOthers) {
  LlmOptions options;
  options.longest_wait = std::chrono::minutes(5);  // a slow machine refuses none
  ASSERT_TRUE(Load(options).ok());
  std::vector<std::unique_ptr<TestCall>> alone;
  for (const char* prompt : kPrompts) {
    alone.push_back(Greedy(prompt, 16));
    TestCall& call = *alone.back();
    call.request.top_logprobs = 2;
    model_->Generate(&call);
    ASSERT_TRUE(call.Wait().ok()) << call.status.ToString();
    EXPECT_EQ(call.usage.completion_tokens, 16);
    EXPECT_EQ(call.logprobs.size(), 16u);
    EXPECT_EQ(call.reasons[0], FinishReason::kLength);
    // A greedy answer's tokens are the likeliest.
    for (const TokenLogprob& one : call.logprobs) EXPECT_EQ(one.bytes, one.top[0].first);
  }
  std::vector<std::unique_ptr<TestCall>> together;
  for (int round = 0; round < 3; ++round) {
    for (const char* prompt : kPrompts) {
      together.push_back(Greedy(prompt, 16 + round));
      together.back()->request.top_logprobs = 2;
    }
  }
  for (auto& call : together) model_->Generate(call.get());
  for (size_t i = 0; i < together.size(); ++i) {
    ASSERT_TRUE(together[i]->Wait().ok()) << together[i]->status.ToString();
    const size_t which = i % std::size(kPrompts);
    ExpectSame(*alone[which], *together[i], kPrompts[which]);
  }
  // What ended is no longer booked, but for beginnings that are kept.
  const auto step = Settled([](const StepReport& now) { return now.running == 0; });
  EXPECT_EQ(step.running, 0);
  EXPECT_EQ(step.cells_booked, step.cells_held);
}

TEST_F(LanguageModelTest, ChatsByTheModelsTemplate) {
  ASSERT_TRUE(Load().ok());
  TestCall call;
  call.request.chat =
      R"({"messages":[{"role":"user","content":"What is the capital of France?"}]})";
  call.request.sampling.temperature = 0;
  call.request.max_tokens = 40;
  model_->Generate(&call);
  ASSERT_TRUE(call.Wait().ok()) << call.status.ToString();
  EXPECT_FALSE(call.texts[0].empty());
  EXPECT_EQ(call.prompt_tokens,
            37);  // as the template puts it, with the model's own system message
  // The same again: all but the last token of the prompt are there.
  TestCall again;
  again.request = call.request;
  model_->Generate(&again);
  ASSERT_TRUE(again.Wait().ok());
  EXPECT_EQ(again.texts[0], call.texts[0]);
  EXPECT_EQ(again.usage.cached_tokens, call.prompt_tokens - 1);
}

TEST_F(LanguageModelTest, StopsBeforeAWordThatComesInPieces) {
  ASSERT_TRUE(Load().ok());
  auto whole = Greedy("Count: one, two, three,", 24);
  model_->Generate(whole.get());
  ASSERT_TRUE(whole->Wait().ok());
  const std::string text = whole->texts[0];
  ASSERT_GT(text.size(), 20u);
  const std::string word = text.substr(9, 8);  // somewhere across tokens
  auto stopped = Greedy("Count: one, two, three,", 24);
  stopped->request.stop = {word};
  model_->Generate(stopped.get());
  ASSERT_TRUE(stopped->Wait().ok());
  EXPECT_EQ(stopped->texts[0], text.substr(0, text.find(word)));
  EXPECT_EQ(stopped->reasons[0], FinishReason::kStop);
}

TEST_F(LanguageModelTest, CancellingEndsTheSequenceAndFreesItsCells) {
  ASSERT_TRUE(Load().ok());
  auto call = Greedy(kPrompts[2], 4000);
  call->request.ignore_eos = true;
  model_->Generate(call.get());
  call->WaitForText(3);
  model_->Cancel(call.get());
  EXPECT_EQ(call->Wait().code(), Code::kCancelled);
  // The figures say so although nothing else runs.
  const auto step = Settled([](const StepReport& now) { return now.running == 0; });
  EXPECT_EQ(step.running, 0);
  EXPECT_LT(step.cells_booked, 200);
  auto next = Greedy(kPrompts[0], 2);
  model_->Generate(next.get());
  ASSERT_TRUE(next->Wait().ok());
}

TEST_F(LanguageModelTest, RefusesWhatDoesNotFitWithItsSizes) {
  LlmOptions options;
  options.context = 64;
  options.slots = 2;
  options.max_waiting = 1;
  ASSERT_TRUE(Load(options).ok());
  auto long_prompt = Greedy(std::string(2000, 'x'), 1);
  model_->Generate(long_prompt.get());
  EXPECT_EQ(long_prompt->Wait().code(), Code::kInvalidArgument);
  EXPECT_NE(long_prompt->status.message().find("64"), std::string::npos);
  auto long_answer = Greedy(kPrompts[0], 64);
  model_->Generate(long_answer.get());
  EXPECT_EQ(long_answer->Wait().code(), Code::kInvalidArgument);
  auto truncated = Greedy(std::string(2000, 'x'), 8);
  truncated->request.truncate = true;
  model_->Generate(truncated.get());
  EXPECT_TRUE(truncated->Wait().ok()) << truncated->status.ToString();
  EXPECT_EQ(truncated->prompt_tokens, 56);
  TestCall foreign;
  foreign.request.tokens = {1, 2, 4'000'000};
  model_->Generate(&foreign);
  EXPECT_EQ(foreign.Wait().code(), Code::kInvalidArgument);
  std::vector<std::unique_ptr<TestCall>> many;
  int refused = 0;
  for (int i = 0; i < 8; ++i) {
    many.push_back(Greedy(kPrompts[2], 40));
    many.back()->request.ignore_eos = true;
    model_->Generate(many.back().get());
  }
  for (auto& call : many) refused += call->Wait().code() == Code::kOverloaded ? 1 : 0;
  EXPECT_EQ(refused, 5);
}

// The cache holds the beginnings of all three, but not their ends: one is put off, and ends with the same answer as alone.
TEST_F(LanguageModelTest, NoneIsDroppedForLackOfCells) {
  LlmOptions options;
  options.context = 448;
  options.cells = 450;
  options.slots = 3;
  ASSERT_TRUE(Load(options).ok());
  auto alone = Greedy(kPrompts[2], 200);
  alone->request.ignore_eos = true;
  alone->request.top_logprobs = 2;
  model_->Generate(alone.get());
  ASSERT_TRUE(alone->Wait().ok());
  std::vector<std::unique_ptr<TestCall>> many;
  for (int i = 0; i < 3; ++i) {
    many.push_back(Greedy(kPrompts[2], 200));
    many.back()->request.ignore_eos = true;
    many.back()->request.top_logprobs = 2;
    model_->Generate(many.back().get());
  }
  for (auto& call : many) {
    ASSERT_TRUE(call->Wait().ok()) << call->status.ToString();
    EXPECT_EQ(call->usage.completion_tokens, 200);
    ExpectSame(*alone, *call, kPrompts[2]);
  }
}

TEST_F(LanguageModelTest, JsonSchemaIsKept) {
  ASSERT_TRUE(Load().ok());
  TestCall call;
  call.request.chat = R"({"messages":[{"role":"user","content":"Describe a cat as JSON."}]})";
  call.request.json_schema =
      R"({"type":"object","properties":{"name":{"type":"string","maxLength":12},"age":{"type":"integer","maximum":30}},)"
      R"("required":["name","age"],"additionalProperties":false})";
  call.request.sampling.temperature = 1;
  call.request.sampling.seed = 1;
  call.request.max_tokens = 200;
  model_->Generate(&call);
  ASSERT_TRUE(call.Wait().ok()) << call.status.ToString();
  const auto parsed = nlohmann::json::parse(call.texts[0], nullptr, false);
  ASSERT_TRUE(parsed.is_object()) << call.texts[0];
  EXPECT_TRUE(parsed.at("age").is_number_integer());
}

TEST_F(LanguageModelTest, AHostileGrammarEndsOnlyThePromptProcess) {
  ASSERT_TRUE(Load().ok());
  const auto before = model_->Look();
  auto bystander = Greedy(kPrompts[2], 100);
  bystander->request.ignore_eos = true;
  model_->Generate(bystander.get());
  bystander->WaitForText(1);
  auto hostile = Greedy(kPrompts[0], 5);
  hostile->request.grammar =
      "root ::= " + std::string(20'000, '(') + "\"a\"" + std::string(20'000, ')');
  model_->Generate(hostile.get());
  EXPECT_EQ(hostile->Wait().code(), Code::kInvalidArgument) << hostile->status.ToString();
  EXPECT_TRUE(bystander->Wait().ok());
  EXPECT_EQ(bystander->usage.completion_tokens, 100);
  auto next = Greedy(kPrompts[0], 5);
  model_->Generate(next.get());
  EXPECT_TRUE(next->Wait().ok()) << next->status.ToString();
  EXPECT_EQ(model_->Look().engine.pid, before.engine.pid);
  EXPECT_EQ(model_->Look().engine.restarts, 0u);
}

TEST_F(LanguageModelTest, AnswersGoOnInTheNextWorker) {
  ASSERT_TRUE(Load().ok());
  // The next token is never in doubt, as it is in a story.
  std::string counting = "Count in steps of one:";
  for (int i = 1; i <= 30; ++i) counting += fmt::format(" {},", i);
  auto undisturbed = Greedy(counting, 60);
  model_->Generate(undisturbed.get());
  ASSERT_TRUE(undisturbed->Wait().ok());
  std::vector<std::unique_ptr<TestCall>> calls;
  for (int i = 0; i < 3; ++i) {
    calls.push_back(Greedy(counting, 60));
    model_->Generate(calls.back().get());
  }
  calls[0]->WaitForText(5);
  ASSERT_EQ(::kill(model_->Look().engine.pid, SIGKILL), 0);
  for (auto& call : calls) {
    ASSERT_TRUE(call->Wait().ok()) << call->status.ToString();
    EXPECT_EQ(call->texts[0], undisturbed->texts[0]);
    EXPECT_EQ(call->usage.completion_tokens, 60);
  }
  EXPECT_EQ(model_->Look().engine.restarts, 1u);
}

// After a death each is let in alone: the one at whose prompt the next worker ends is failed, and the others are not.
TEST_F(LanguageModelTest, TheAnswerThatEndsTwoWorkersIsFailedAndTheOthersGoOn) {
  ASSERT_TRUE(Load().ok());
  std::string long_prompt;
  for (int i = 0; i < 1500; ++i) long_prompt += " word";
  auto suspect = Greedy(long_prompt, 60);
  model_->Generate(suspect.get());
  std::vector<std::unique_ptr<TestCall>> others;
  for (int i = 0; i < 3; ++i) {
    others.push_back(Greedy(kPrompts[2], 60));
    model_->Generate(others.back().get());
  }
  others[0]->WaitForText(1);
  const pid_t first = model_->Look().engine.pid;
  ASSERT_EQ(::kill(first, SIGKILL), 0);
  LlmModel::View now;
  for (int i = 0; i < 3000 && !(now.engine.state == "ready" && now.engine.pid != first); ++i) {
    std::this_thread::sleep_for(milliseconds(10));
    now = model_->Look();
  }
  ASSERT_NE(now.engine.pid, first);
  ASSERT_EQ(::kill(now.engine.pid, SIGKILL), 0);  // its prompt takes longer than that
  EXPECT_EQ(suspect->Wait().code(), Code::kInternal);
  EXPECT_NE(suspect->status.message().find("ended while it computed this answer"),
            std::string::npos)
      << suspect->status.ToString();
  for (auto& other : others) {
    ASSERT_TRUE(other->Wait().ok()) << other->status.ToString();
    EXPECT_EQ(other->usage.completion_tokens, 60);
  }
  EXPECT_EQ(model_->Look().engine.restarts, 2u);
}

// A client's rules whose ways double with each letter end its own answer, and nobody else's step.
TEST_F(LanguageModelTest, AGrammarWithTooManyWaysEndsItsAnswerAlone) {
  ASSERT_TRUE(Load().ok());
  auto beside = Greedy(kPrompts[2], 60);
  auto hostile = Greedy(kPrompts[1], 60);
  std::string& rules = hostile->request.grammar;
  rules = "root ::= \"qzkvjxwpyfhbdgmcqxzjkvwp\" r0\n";  // longer than any token
  for (int i = 0; i < 25; ++i) rules += fmt::format("r{0} ::= r{1} \"x\" | r{1} \"y\"\n", i, i + 1);
  rules += "r25 ::= \"z\"\n";
  model_->Generate(beside.get());
  model_->Generate(hostile.get());
  EXPECT_EQ(hostile->Wait().code(), Code::kInvalidArgument);
  EXPECT_NE(hostile->status.message().find("too many ways"), std::string::npos)
      << hostile->status.ToString();
  ASSERT_TRUE(beside->Wait().ok()) << beside->status.ToString();
  EXPECT_EQ(beside->usage.completion_tokens, 60);
  EXPECT_FALSE(hostile->texts[0].empty());  // it was the worker that gave it up
  EXPECT_EQ(model_->Look().engine.restarts, 0u);
}

// What was told is not told again, and the rest is what it would have been. The beginning is in the cache still, as it was computed the first
// time: computed anew in pieces of other sizes it adds up in another order, and two close calls may go another way.
TEST_F(LanguageModelTest, ASeededAnswerThatWasBegunGoesOnAsItWouldHave) {
  LlmOptions options;
  options.slots = 1;
  ASSERT_TRUE(Load(options).ok());
  const auto ask = [&](std::vector<int32_t> begun) {
    auto call = Greedy(kPrompts[2], 40);
    call->request.sampling.temperature = 0.8F;
    call->request.sampling.seed = 11;
    call->request.ignore_eos = true;
    call->request.tell_tokens = true;
    if (!begun.empty()) call->request.begun = {{std::move(begun), "", false}};
    model_->Generate(call.get());
    EXPECT_TRUE(call->Wait().ok()) << call->status.ToString();
    return call;
  };
  const std::vector<int32_t> whole = ask({})->tokens;
  ASSERT_EQ(whole.size(), 40u);
  for (const int cut : {1, 12, 30}) {
    const auto moved = ask({whole.begin(), whole.begin() + cut});
    EXPECT_EQ(moved->tokens, std::vector<int32_t>(whole.begin() + cut, whole.end())) << cut;
    EXPECT_EQ(moved->usage.completion_tokens, 40);
  }
}

// As between two nodes of a cluster: the second process computes what was told since the state was taken, and nothing else.
TEST_F(LanguageModelTest, AnAnswerGoesOnInAnotherProcessFromItsState) {
  LlmOptions options;
  options.slots = 2;
  ASSERT_TRUE(Load(options).ok());
  const std::shared_ptr<LlmModel> from = model_;
  auto call = Greedy(kPrompts[2], 1000);
  call->request.ignore_eos = true;
  call->request.tell_tokens = true;
  call->movable = true;
  from->Generate(call.get());
  call->WaitForText(20);
  loop_->Post([&] { EXPECT_EQ(from->AskToMove(1), 1); });
  call->WaitToBeAsked();
  ASSERT_NE(call->offer.answer, 0u);
  EXPECT_GE(call->offer.tokens, call->prompt_tokens + 20);

  const auto read = [&](uint64_t answer) {
    std::promise<Result<SequenceState>> told;
    from->ReadState(answer, [&](Result<SequenceState> state) { told.set_value(std::move(state)); });
    return told.get_future().get();
  };
  const auto state = read(call->offer.answer);
  ASSERT_TRUE(state.ok()) << state.status().ToString();
  EXPECT_GE(state->tokens.size(), static_cast<size_t>(call->prompt_tokens + 19));
  // What was offered is about what there is.
  const double each =
      static_cast<double>(state->bytes.size()) / static_cast<double>(state->tokens.size());
  const double offered =
      static_cast<double>(call->offer.state_bytes) / static_cast<double>(call->offer.tokens);
  EXPECT_NEAR(each / offered, 1, 0.02);
  from->Cancel(call.get());
  EXPECT_EQ(call->Wait().code(), Code::kCancelled);
  EXPECT_EQ(read(call->offer.answer).status().code(), Code::kNotFound) << "it has ended";
  EXPECT_EQ(read(0).status().code(), Code::kNotFound);
  ASSERT_GE(call->tokens.size(), 20u);

  const auto go_on = [&](LlmModel& model) {
    auto rest = Greedy(kPrompts[2], static_cast<int>(call->tokens.size()) + 20);
    rest->request.ignore_eos = true;
    rest->request.tell_tokens = true;
    rest->request.begun = {{call->tokens, call->texts[0], false}};
    model.Generate(rest.get());
    EXPECT_TRUE(rest->Wait().ok()) << rest->status.ToString();
    return rest;
  };
  ASSERT_TRUE(Load(options).ok());
  ASSERT_NE(model_, from);
  EXPECT_EQ(model_->state_kind(), from->state_kind());
  const auto restore = [&](SequenceState given) {
    std::promise<Status> told;
    model_->RestoreState(std::move(given), [&](const Status& status) { told.set_value(status); });
    return told.get_future().get();
  };
  // What another node could say of it.
  SequenceState other = *state;
  other.kind = "llama.cpp 0";
  EXPECT_EQ(restore(other).code(), Code::kConflict);
  other = *state;
  other.tokens.back() = 10'000'000;
  EXPECT_EQ(restore(other).code(), Code::kInvalidArgument);
  other = *state;
  other.bytes.resize(other.bytes.size() - 1);
  EXPECT_EQ(restore(other).code(), Code::kInvalidArgument);
  const Status restored = restore(*state);
  ASSERT_TRUE(restored.ok()) << restored.ToString();
  const auto there = go_on(*model_);
  EXPECT_EQ(there->tokens.size(), 20u);
  const size_t told = static_cast<size_t>(call->prompt_tokens) + call->tokens.size();
  EXPECT_EQ(model_->Look().engine.prompt_tokens, told - state->tokens.size());
  EXPECT_EQ(there->usage.cached_tokens, call->prompt_tokens);
  EXPECT_EQ(model_->Look().engine.restarts, 0u);
  // As it would have gone on where it was.
  EXPECT_EQ(there->tokens, go_on(*from)->tokens);
}

TEST_F(LanguageModelTest, AStateIsNotWaitedForWhenItsWorkerDies) {
  ASSERT_TRUE(Load().ok());
  auto call = Greedy(kPrompts[2], 1000);
  call->request.ignore_eos = true;
  call->movable = true;
  model_->Generate(call.get());
  call->WaitForText(5);
  loop_->Post([&] { model_->AskToMove(1); });
  call->WaitToBeAsked();
  const pid_t worker = model_->Look().engine.pid;
  ASSERT_EQ(::kill(worker, SIGSTOP), 0);
  std::promise<Status> told;
  model_->ReadState(call->offer.answer,
                    [&](const Result<SequenceState>& state) { told.set_value(state.status()); });
  std::promise<void> asked;
  loop_->Post([&] { asked.set_value(); });
  asked.get_future().wait();
  ASSERT_EQ(::kill(worker, SIGKILL), 0);
  EXPECT_EQ(told.get_future().get().code(), Code::kUnavailable);
  // The answer goes on in the next one.
  call->WaitForText(60);
  model_->Cancel(call.get());
  EXPECT_EQ(call->Wait().code(), Code::kCancelled);
}

TEST_F(LanguageModelTest, OfSeveralChoicesNoStateIsOffered) {
  ASSERT_TRUE(Load().ok());
  auto call = Greedy(kPrompts[2], 1000);
  call->request.choices = 2;
  call->request.ignore_eos = true;
  call->movable = true;
  model_->Generate(call.get());
  call->WaitForText(5);
  loop_->Post([&] { model_->AskToMove(1); });
  call->WaitToBeAsked();
  EXPECT_EQ(call->offer.answer, 0u);
  model_->Cancel(call.get());
  EXPECT_EQ(call->Wait().code(), Code::kCancelled);
}

TEST_F(LanguageModelTest, ADeadlineEndsACall) {
  ASSERT_TRUE(Load().ok());
  auto call = Greedy(kPrompts[2], 4000);
  call->request.ignore_eos = true;
  call->deadline = SteadyClock::Instance().Now() + milliseconds(300);
  model_->Generate(call.get());
  EXPECT_EQ(call->Wait().code(), Code::kDeadlineExceeded);
}

TEST_F(LanguageModelTest, ChoicesShareThePromptAndDiffer) {
  ASSERT_TRUE(Load().ok());
  auto call = Greedy(kPrompts[2], 12);
  call->request.choices = 4;
  call->request.sampling.temperature = 1.5F;
  call->request.sampling.seed = 7;
  call->request.top_logprobs = 3;
  model_->Generate(call.get());
  ASSERT_TRUE(call->Wait().ok()) << call->status.ToString();
  EXPECT_EQ(call->texts.size(), 4u);
  EXPECT_NE(call->texts[0], call->texts[1]);
  EXPECT_EQ(call->logprobs.size(), static_cast<size_t>(call->usage.completion_tokens));
  for (const TokenLogprob& one : call->logprobs) {
    EXPECT_LE(one.logprob, 0);
    ASSERT_EQ(one.top.size(), 3u);
    EXPECT_GE(one.top[0].second, one.top[1].second);
    EXPECT_GE(one.top[0].second, one.logprob);
  }
  // The prompt was computed once.
  EXPECT_LT(model_->Look().engine.prompt_tokens, static_cast<uint64_t>(2 * call->prompt_tokens));
  auto again = Greedy(kPrompts[2], 12);
  again->request = call->request;
  model_->Generate(again.get());
  ASSERT_TRUE(again->Wait().ok());
  // The same seed: the same beginning, at least, since the prompt comes out of the cache now.
  int same = 0;
  for (int i = 0; i < 4; ++i) same += again->texts[i].substr(0, 4) == call->texts[i].substr(0, 4);
  EXPECT_GE(same, 3);
}

// It has to be answered by a call of the tool.
constexpr const char* kToolChat =
    R"({"messages":[{"role":"user","content":"What is the weather in Paris?"}],"tool_choice":"required",)"
    R"("tools":[{"type":"function","function":{"name":"get_weather","parameters":{"type":"object",)"
    R"("properties":{"city":{"type":"string","maxLength":20}},"required":["city"]}}}]})";

TEST_F(LanguageModelTest, ToolCallsAreTakenApart) {
  ASSERT_TRUE(Load().ok());
  TestCall call;
  call.request.chat = kToolChat;
  call.request.sampling.temperature = 0;
  call.request.max_tokens = 200;
  model_->Generate(&call);
  ASSERT_TRUE(call.Wait().ok()) << call.status.ToString();
  ASSERT_FALSE(call.tools.empty()) << call.texts[0];
  EXPECT_EQ(call.tools[0].name, "get_weather");
  std::string arguments;
  for (const auto& tool : call.tools) arguments += tool.arguments;
  EXPECT_TRUE(nlohmann::json::parse(arguments, nullptr, false).contains("city")) << arguments;
  EXPECT_EQ(call.reasons[0], FinishReason::kToolCalls);
}

// An attempt elsewhere goes on behind the tokens that were told: nothing of them may still be on its way then.
TEST_F(LanguageModelTest, WhatBelongsToATokenIsToldWithItAlsoWhereAnswersAreTakenApart) {
  ASSERT_TRUE(Load().ok());
  TestCall call;
  call.request.chat = kToolChat;
  call.request.sampling.temperature = 0;
  call.request.max_tokens = 100;
  call.request.top_logprobs = 1;
  call.request.tell_tokens = true;
  model_->Generate(&call);
  ASSERT_TRUE(call.Wait().ok()) << call.status.ToString();
  EXPECT_FALSE(call.tokens.empty());
  EXPECT_EQ(call.logprobs.size(), call.tokens.size());
  EXPECT_EQ(call.uneven, 0);
}

TEST_F(LanguageModelTest, AnAnswerThatHasJustComeIsNotAskedToGo) {
  ASSERT_TRUE(Load().ok());
  const auto run = [&](std::vector<int32_t> begun) {
    auto call = Greedy(kPrompts[2], 4000);
    call->request.ignore_eos = true;
    call->request.tell_tokens = true;
    call->movable = true;
    if (!begun.empty()) call->request.begun = {{std::move(begun), "", false}};
    model_->Generate(call.get());
    call->WaitForText(3);
    return call;
  };
  const auto ask = [&](Duration cool_down) {
    std::promise<int> asked;
    loop_->Post([&] { asked.set_value(model_->AskToMove(10, cool_down)); });
    return asked.get_future().get();
  };
  const auto end = [&](TestCall& call) {
    model_->Cancel(&call);
    EXPECT_EQ(call.Wait().code(), Code::kCancelled);
    return call.asked_to_move;
  };
  const auto first = run({});
  EXPECT_EQ(ask(LlmModel::kAskAgain), 1);
  EXPECT_EQ(ask(LlmModel::kAskAgain), 0);  // not twice
  EXPECT_EQ(end(*first), 1);
  const auto moved = run({first->tokens.begin(), first->tokens.begin() + 2});
  EXPECT_EQ(ask(LlmModel::kAskAgain), 0);
  EXPECT_EQ(ask(Duration::zero()), 1);  // where the node ends
  EXPECT_EQ(end(*moved), 1);
}

// The file goes while the model serves, and with it what would follow a process that ends: nobody waits for that without end.
TEST_F(LanguageModelTest, WhereNothingLoadsAgainCallsFailAndLaterGoOn) {
  const std::string path = testing::TempDir() + fmt::format("/gone_{}.gguf", ::getpid());
  const std::string aside = path + ".aside";
  std::filesystem::copy_file(ModelPath(), path, std::filesystem::copy_options::overwrite_existing);
  LlmOptions options;
  options.path = path;
  options.load_patience = milliseconds(300);
  ASSERT_TRUE(Load(options).ok());
  auto begun = Greedy(kPrompts[2], 2000);
  begun->request.ignore_eos = true;
  model_->Generate(begun.get());
  begun->WaitForText(3);
  std::filesystem::rename(path, aside);
  ASSERT_EQ(::kill(model_->Look().engine.pid, SIGKILL), 0);
  EXPECT_EQ(begun->Wait().code(), Code::kUnavailable);
  EXPECT_NE(begun->status.message().find("does not load again"), std::string::npos)
      << begun->status.ToString();
  EXPECT_FALSE(model_->available());
  auto next = Greedy(kPrompts[0], 5);
  model_->Generate(next.get());
  EXPECT_EQ(next->Wait().code(), Code::kUnavailable);
  ASSERT_EQ(::kill(model_->Look().prompt_pid, SIGKILL), 0);
  auto unprepared = Greedy(kPrompts[0], 5);
  model_->Generate(unprepared.get());
  EXPECT_EQ(unprepared->Wait().code(), Code::kUnavailable);
  std::filesystem::rename(aside, path);
  Status last;
  for (int i = 0; i < 300; ++i) {
    auto again = Greedy(kPrompts[0], 5);
    model_->Generate(again.get());
    last = again->Wait();
    if (last.ok()) break;
    EXPECT_EQ(last.code(), Code::kUnavailable) << last.ToString();
    std::this_thread::sleep_for(milliseconds(100));
  }
  EXPECT_TRUE(last.ok()) << last.ToString();
  EXPECT_TRUE(model_->available());
  std::filesystem::remove(path);
}

TEST_F(LanguageModelTest, AFileThatIsNoModelIsRefused) {
  const std::string path = testing::TempDir() + "/none.gguf";
  std::filesystem::remove(path);
  {
    std::ofstream out(path);
    out << "GGUF" << std::string(100, '\x7f');
  }
  LlmOptions options;
  options.path = path;
  const Status status = Load(options);
  EXPECT_EQ(status.code(), Code::kInvalidArgument) << status.ToString();
}

}  // namespace
}  // namespace evenkeel
