#include "server/ensemble_model.h"

#include <gtest/gtest.h>

#include <functional>
#include <map>
#include <utility>

#include "core/format.h"

namespace evenkeel {
namespace {

TensorSpec Spec(std::string name, DataType dtype) {
  TensorSpec spec;
  spec.name = std::move(name);
  spec.dtype = dtype;
  spec.shape = {kDynamic, 1};
  return spec;
}

// Answers with its input at once, or holds the call until it is cancelled.
class EchoModel final : public ServedModel {
 public:
  explicit EchoModel(bool hold = false) : hold_(hold) {
    signature_.inputs.push_back(Spec("a", DataType::kFp32));
    signature_.outputs.push_back(Spec("b", DataType::kFp32));
    signature_.batched = true;
    signature_.max_batch = 8;
  }
  const std::string& name() const override { return name_; }
  const std::string& version() const override { return version_; }
  const Signature& signature() const override { return signature_; }
  void Infer(InferCall* call) override {
    ++calls;
    if (on_infer) on_infer();
    if (hold_) {
      held_ = call;
      return;
    }
    TensorView view = call->inputs[0];
    view.spec = 0;
    call->Done(Status::Ok(), {&view, 1}, {});
  }
  void Cancel(InferCall* call) override {
    if (held_ != call) return;
    std::exchange(held_, nullptr)->Done(Cancelled("the client went away"), {}, {});
  }
  int calls = 0;
  std::function<void()> on_infer;  // just before the model has the call

 private:
  const bool hold_;
  const std::string name_ = "echo", version_ = "1";
  Signature signature_;
  InferCall* held_ = nullptr;
};

struct Call final : InferCall {
  void Done(const Status& told, std::span<const TensorView> outputs,
            const Timings& /*timings*/) override {
    ++ends;
    status = told;
    outputs_told = outputs.size();
  }
  void Give(uint32_t spec, DataType dtype, std::span<const std::byte> data) {
    inputs.push_back({spec, dtype, {1, 1}, data});
  }
  int ends = 0;
  size_t outputs_told = 0;
  Status status;
};

class EnsembleModelTest : public testing::Test {
 protected:
  // x -> first -> t -> second -> y, and `passed` from the request to the answer.
  void Begin() {
    ModelConfig config;
    config.name = "e";
    config.batch_axis_declared = true;
    config.batching.max_batch = 8;
    config.inputs.push_back({"x", DataType::kFp32, Shape{kDynamic, 1}, {}, {}});
    config.inputs.push_back({"passed", DataType::kBytes, Shape{kDynamic, 1}, {}, {}});
    config.outputs.push_back({"y", DataType::kFp32, Shape{kDynamic, 1}, {}, {}});
    config.outputs.push_back({"passed", DataType::kBytes, Shape{kDynamic, 1}, {}, {}});
    config.ensemble.push_back({"first", -1, {{"a", "x"}}, {{"b", "t"}}});
    config.ensemble.push_back({"second", -1, {{"a", "t"}}, {{"b", "y"}}});
    ensemble_ = std::make_shared<EnsembleModel>(
        config, SteadyClock::Instance(),
        [this](std::string_view name, std::string_view) -> Result<std::shared_ptr<ServedModel>> {
          const auto at = models_.find(name);
          if (at == models_.end()) return NotFound("unknown model '{}'", name);
          return std::shared_ptr<ServedModel>(at->second);
        });
    call_.Give(0, DataType::kFp32, std::as_bytes(std::span<const float>(&value_, 1)));
    call_.Give(1, DataType::kBytes, std::as_bytes(std::span<const char>(text_, 5)));
  }

  const float value_ = 3;
  const char text_[5] = {1, 0, 0, 0, 'a'};  // one element of one byte
  std::map<std::string, std::shared_ptr<EchoModel>, std::less<>> models_{
      {"first", std::make_shared<EchoModel>()}, {"second", std::make_shared<EchoModel>()}};
  std::shared_ptr<EnsembleModel> ensemble_;
  Call call_;
};

TEST_F(EnsembleModelTest, StepsRunAndTheAnswerIsTold) {
  Begin();
  ensemble_->Infer(&call_);
  EXPECT_EQ(call_.ends, 1);
  EXPECT_TRUE(call_.status.ok()) << call_.status.ToString();
  EXPECT_EQ(call_.outputs_told, 2);
}

// No step looks at it: whoever writes the answer down would read beyond it.
TEST_F(EnsembleModelTest, AnInputThatIsPassedOnIsLookedAt) {
  Begin();
  call_.inputs[1].data = call_.inputs[1].data.first(4);
  ensemble_->Infer(&call_);
  EXPECT_EQ(call_.ends, 1);
  EXPECT_EQ(call_.status.code(), Code::kInvalidArgument);
  EXPECT_NE(call_.status.message().find("'passed'"), std::string::npos) << call_.status.message();
  EXPECT_EQ(models_["first"]->calls, 0);
}

TEST_F(EnsembleModelTest, AMissingInputIsNamed) {
  Begin();
  call_.inputs.erase(call_.inputs.begin());
  ensemble_->Infer(&call_);
  EXPECT_EQ(call_.ends, 1);
  EXPECT_NE(call_.status.message().find("input 'x' is missing"), std::string::npos)
      << call_.status.message();
}

TEST_F(EnsembleModelTest, AStepThatBeginsWhileTheCallIsCancelledEnds) {
  models_["second"] = std::make_shared<EchoModel>(/*hold=*/true);
  Begin();
  models_["second"]->on_infer = [this] { ensemble_->Cancel(&call_); };
  ensemble_->Infer(&call_);
  EXPECT_EQ(call_.ends, 1) << "the step runs on, though nobody wants it";
  EXPECT_EQ(call_.status.code(), Code::kCancelled);
}

TEST_F(EnsembleModelTest, AModelThatIsNotThereIsNamed) {
  models_.erase("second");
  Begin();
  ensemble_->Infer(&call_);
  EXPECT_EQ(call_.ends, 1);
  EXPECT_EQ(call_.status.code(), Code::kNotFound);
  EXPECT_NE(call_.status.message().find("'second'"), std::string::npos);
}

}  // namespace
}  // namespace evenkeel
