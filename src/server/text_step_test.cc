// Language models as steps of ensembles, with a model that answers as a test says.
#include "server/text_step.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstring>
#include <deque>
#include <functional>
#include <map>

#include "frontends/fake_language_model.h"

namespace evenkeel {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

std::vector<std::byte> Encoded(const std::vector<std::string>& texts) {
  std::vector<std::byte> bytes;
  for (const std::string& text : texts) {
    const auto length = static_cast<uint32_t>(text.size());
    const auto* at = reinterpret_cast<const std::byte*>(&length);
    bytes.insert(bytes.end(), at, at + sizeof length);
    at = reinterpret_cast<const std::byte*>(text.data());
    bytes.insert(bytes.end(), at, at + text.size());
  }
  return bytes;
}

struct Call final : InferCall {
  explicit Call(const ServedModel& of) : model(of) { arrived = SteadyClock::Instance().Now(); }
  void Texts(std::string_view input, const std::vector<std::string>& texts) {
    Bytes(input, Encoded(texts), {static_cast<int64_t>(texts.size())});
  }
  void Bytes(std::string_view input, std::vector<std::byte> bytes, Shape of,
             DataType type = DataType::kBytes) {
    data.push_back(std::move(bytes));
    inputs.push_back(
        {static_cast<uint32_t>(model.signature().FindInput(input)), type, of, data.back()});
  }
  void Done(const Status& ended, std::span<const TensorView> outputs, const Timings&) override {
    ++done;
    status = ended;
    for (const TensorView& view : outputs) {
      const std::string& output = model.signature().outputs[view.spec].name;
      types[output] = view.dtype;
      if (view.dtype == DataType::kInvalid) continue;
      shape = view.shape;
      made.assign(view.data.begin(), view.data.end());
    }
  }
  std::vector<float> Numbers() const {
    std::vector<float> numbers(made.size() / sizeof(float));
    std::memcpy(numbers.data(), made.data(), made.size());
    return numbers;
  }

  const ServedModel& model;
  std::deque<std::vector<std::byte>> data;
  int done = 0;
  Status status;
  std::map<std::string, DataType> types;
  Shape shape;
  std::vector<std::byte> made;
};

class TextStepTest : public testing::Test {
 protected:
  TextStepTest() {
    LanguageModelInfo info;
    info.name = "talk";
    info.chat = info.embeddings = info.ranks = true;
    info.vector_size = 2;
    model_ = std::make_shared<FakeLanguageModel>(info);
    step_ = std::make_shared<TextStep>(model_, SteadyClock::Instance());
  }
  Status Refusal(const std::function<void(Call&)>& fill) {
    Call call(*step_);
    fill(call);
    step_->Infer(&call);
    EXPECT_EQ(call.done, 1);
    EXPECT_EQ(call.status.code(), Code::kInvalidArgument) << call.status.ToString();
    return call.status;
  }

  std::shared_ptr<FakeLanguageModel> model_;
  std::shared_ptr<TextStep> step_;
};

TEST_F(TextStepTest, EachTextIsContinuedAndTheShapeStays) {
  Call call(*step_);
  call.Bytes("text_input", Encoded({"one", "two"}), {2, 1});
  call.deadline = call.arrived + std::chrono::seconds(5);
  step_->Infer(&call);
  ASSERT_EQ(call.done, 1);
  ASSERT_TRUE(call.status.ok()) << call.status.ToString();
  EXPECT_EQ(call.made, Encoded({"hello world", "hello world"}));
  EXPECT_EQ(call.shape, (Shape{2, 1}));
  EXPECT_EQ(call.types["embedding"], DataType::kInvalid);
  ASSERT_EQ(model_->requests().size(), 2u);
  EXPECT_EQ(model_->requests()[1].prompt, "two");
  EXPECT_EQ(model_->requests()[1].max_tokens, TextStep::kTokens);
  EXPECT_EQ(model_->requests()[1].sampling.temperature, 0);
  EXPECT_EQ(model_->last_deadline(), call.deadline);
}

TEST_F(TextStepTest, AMessageIsPutIntoTheModelsOwnWords) {
  Call call(*step_);
  call.Texts("chat_input", {"say \"hi\""});
  const int32_t most = 7;
  call.Bytes("max_tokens", {4, std::byte{0}}, {1}, DataType::kInt32);
  std::memcpy(call.data.back().data(), &most, sizeof most);
  step_->Infer(&call);
  ASSERT_TRUE(call.status.ok()) << call.status.ToString();
  EXPECT_EQ(model_->requests()[0].chat, R"({"messages":[{"content":"say \"hi\"","role":"user"}]})");
  EXPECT_EQ(model_->requests()[0].max_tokens, 7);
}

TEST_F(TextStepTest, TextsBecomeVectorsAndDocumentsScores) {
  Call vectors(*step_);
  vectors.Texts("texts", {"a", "bcd"});
  step_->Infer(&vectors);
  ASSERT_TRUE(vectors.status.ok()) << vectors.status.ToString();
  EXPECT_EQ(vectors.shape, (Shape{2, 2}));
  EXPECT_THAT(vectors.Numbers(), ElementsAre(1, 0, 3, 1));
  Call scores(*step_);
  scores.Texts("query", {"which?"});
  scores.Texts("documents", {"four", "ten letters"});
  step_->Infer(&scores);
  ASSERT_TRUE(scores.status.ok()) << scores.status.ToString();
  EXPECT_EQ(scores.shape, (Shape{2}));
  EXPECT_THAT(scores.Numbers(), ElementsAre(0.04F, 0.11F));
  EXPECT_EQ(scores.types["score"], DataType::kFp32);
}

TEST_F(TextStepTest, WhatIsNoCallIsRefused) {
  const std::string kinds = "expected one of text_input";
  EXPECT_THAT(Refusal([](Call&) {}).message(), HasSubstr(kinds));
  EXPECT_THAT(Refusal([](Call& call) {
                call.Texts("text_input", {"a"});
                call.Texts("texts", {"a"});
              }).message(),
              HasSubstr(kinds));
  EXPECT_THAT(Refusal([](Call& call) { call.Texts("query", {"a"}); }).message(),
              HasSubstr("query and documents"));
  EXPECT_THAT(Refusal([](Call& call) { call.Texts("text_input", {"\xff"}); }).message(),
              HasSubstr("text 1 is not UTF-8"));
  EXPECT_THAT(Refusal([](Call& call) { call.Bytes("texts", Encoded({"abc"}), {2}); }).message(),
              HasSubstr("input 'texts'"));
  EXPECT_THAT(Refusal([](Call& call) { call.Bytes("texts", {}, {0}); }).message(),
              HasSubstr("expected 1 to 2048 texts"));
  EXPECT_THAT(Refusal([](Call& call) {
                call.Bytes("text_input", {4, std::byte{0}}, {1}, DataType::kFp32);
              }).message(),
              HasSubstr("expected BYTES, got FP32"));
  EXPECT_THAT(Refusal([](Call& call) {
                call.Texts("text_input", std::vector<std::string>(65, "a"));
              }).message(),
              HasSubstr("1 to 64 texts"));
  EXPECT_THAT(Refusal([](Call& call) {
                call.Texts("text_input", {"a"});
                call.Bytes("max_tokens", {4, std::byte{0}}, {1}, DataType::kInt32);
              }).message(),
              HasSubstr("expected 1 or more, got 0"));
  EXPECT_TRUE(model_->requests().empty());
}

TEST_F(TextStepTest, TheFirstThatFailsEndsTheCallAndCancelsTheRest) {
  model_->Hold(true);
  Call call(*step_);
  call.Texts("text_input", {"a", "b", "c"});
  step_->Infer(&call);
  EXPECT_EQ(call.done, 0);
  model_->Finish(model_->held(1), Status(Code::kOverloaded, "full"), FakeUsage(1, 0));
  EXPECT_EQ(call.done, 1);
  EXPECT_EQ(call.status.code(), Code::kOverloaded);
  EXPECT_TRUE(call.types.empty());
}

TEST_F(TextStepTest, ACallThatIsCancelledCancelsItsAnswers) {
  model_->Hold(true);
  Call call(*step_);
  call.Texts("text_input", {"a", "b"});
  step_->Infer(&call);
  step_->Cancel(&call);
  EXPECT_EQ(call.done, 1);
  EXPECT_EQ(call.status.code(), Code::kCancelled);
  Call vectors(*step_);
  vectors.Texts("texts", {"a"});
  step_->Infer(&vectors);
  step_->Cancel(&vectors);
  EXPECT_EQ(vectors.done, 1);
  EXPECT_EQ(vectors.status.code(), Code::kCancelled);
}

}  // namespace
}  // namespace evenkeel
