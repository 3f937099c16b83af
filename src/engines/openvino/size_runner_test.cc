#include "engines/openvino/size_runner.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <chrono>
#include <cstring>
#include <filesystem>
#include <openvino/openvino.hpp>
#include <openvino/opsets/opset13.hpp>
#include <vector>

#include "engines/arena_sink.h"
#include "engines/openvino/model_signature.h"

namespace evenkeel {
namespace {

namespace fs = std::filesystem;
namespace op = ov::opset13;

constexpr int64_t kWidth = 24;

// A chain of layers: shapes of each are worked out anew when the size changes.
std::shared_ptr<ov::Model> Chain(const ov::PartialShape& shape) {
  const auto x = std::make_shared<op::Parameter>(ov::element::f32, shape);
  ov::Output<ov::Node> value = x;
  for (int layer = 0; layer < 12; ++layer) {
    std::vector<float> weights(kWidth * kWidth);
    for (size_t i = 0; i < weights.size(); ++i) {
      weights[i] = static_cast<float>((i * 7 + static_cast<size_t>(layer)) % 13) / 60.0F - 0.1F;
    }
    const auto matrix = op::Constant::create(ov::element::f32, {kWidth, kWidth}, weights);
    value = std::make_shared<op::Tanh>(std::make_shared<op::MatMul>(value, matrix));
    value = std::make_shared<op::Softmax>(value, 1);
  }
  return std::make_shared<ov::Model>(ov::OutputVector{value}, ov::ParameterVector{x});
}

class SizeRunnerTest : public testing::Test {
 protected:
  SizeRunnerTest() {
    path_ = fs::temp_directory_path() / ("evenkeel-sizes-" + std::to_string(::getpid()) + ".xml");
    ov::serialize(Chain({-1, kWidth}), path_.string());
    compiled_ = core_.compile_model(path_.string(), "CPU", properties_);
    signature_ = SignatureOf(compiled_).value();
  }
  ~SizeRunnerTest() override {
    fs::remove(path_);
    fs::remove(fs::path(path_).replace_extension(".bin"));
  }

  std::unique_ptr<VariantBuilder> Builder(int64_t memory) {
    return std::make_unique<VariantBuilder>(core_, path_.string(), "CPU", properties_, memory);
  }

  // Runs `rows` rows of numbers that no other call has, and compares with the common form alone.
  void RunAndCompare(SizeRunner& runner, int64_t rows) {
    std::vector<float> input(static_cast<size_t>(rows * kWidth));
    for (float& value : input) value = static_cast<float>(++counter_ % 997) / 500.0F - 1;
    const TensorView view{0, DataType::kFp32, Shape{rows, kWidth}, std::as_bytes(std::span(input))};
    ArenaSink sink(arena_, 1);
    const Status status = runner.Run({&view, 1}, sink);
    ASSERT_TRUE(status.ok()) << status.ToString();
    std::vector<TensorView> outputs;
    ASSERT_TRUE(sink.Collect(&outputs).ok());
    ASSERT_EQ(outputs[0].shape, (Shape{rows, kWidth}));
    auto request = compiled_.create_infer_request();
    request.set_input_tensor(ov::Tensor(
        ov::element::f32, {static_cast<size_t>(rows), static_cast<size_t>(kWidth)}, input.data()));
    request.start_async();
    request.wait();
    const ov::Tensor expected = request.get_output_tensor();
    std::vector<float> got(input.size());
    std::memcpy(got.data(), outputs[0].data.data(), outputs[0].data.size());
    for (size_t i = 0; i < got.size(); ++i) {
      ASSERT_NEAR(got[i], expected.data<float>()[i], 1e-5) << rows << " rows, value " << i;
    }
  }

  // Alternates two sizes until `done`, 60 s at most.
  template <typename Done>
  void Alternate(SizeRunner& runner, Done done) {
    const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(60);
    while (!done() && std::chrono::steady_clock::now() < end) {
      RunAndCompare(runner, 3);
      RunAndCompare(runner, 5);
      if (HasFatalFailure()) return;
    }
  }

  ov::Core core_;
  const ov::AnyMap properties_{ov::inference_num_threads(1), ov::num_streams(1),
                               ov::hint::inference_precision(ov::element::f32)};
  fs::path path_;
  ov::CompiledModel compiled_;
  Signature signature_;
  alignas(64) std::byte arena_[1 << 16];
  uint64_t counter_ = 0;
};

TEST_F(SizeRunnerTest, SizesThatAlternateGetFormsOfTheirOwnAndAnswersStayRight) {
  SizeRunner runner(compiled_, signature_, Builder(int64_t{1} << 30));
  Alternate(runner, [&] { return runner.own_forms() > 0; });
  ASSERT_GT(runner.own_forms(), 0u);
  for (int i = 0; i < 300; ++i) {
    RunAndCompare(runner, 1 + i % 7);
    if (HasFatalFailure()) return;
  }
}

TEST_F(SizeRunnerTest, OneSizeAloneGetsNone) {
  SizeRunner runner(compiled_, signature_, Builder(int64_t{1} << 30));
  for (int i = 0; i < 500; ++i) RunAndCompare(runner, 4);
  EXPECT_EQ(runner.own_forms(), 0u);
}

TEST_F(SizeRunnerTest, WithoutMemoryForThemThereAreNone) {
  SizeRunner runner(compiled_, signature_, Builder(-1));
  int runs = 0;
  Alternate(runner, [&] { return ++runs > 500; });
  EXPECT_EQ(runner.own_forms(), 0u);
}

TEST_F(SizeRunnerTest, OnlyAFreeFirstDimensionIsEligible) {
  const auto eligible = [](const ov::PartialShape& shape) {
    const auto x = std::make_shared<op::Parameter>(ov::element::f32, shape);
    ov::Core core;
    const auto model = core.compile_model(
        std::make_shared<ov::Model>(ov::OutputVector{std::make_shared<op::Relu>(x)},
                                    ov::ParameterVector{x}),
        "CPU");
    return SizeRunner::Eligible(SignatureOf(model).value());
  };
  EXPECT_TRUE(eligible({-1, 4}));
  EXPECT_FALSE(eligible({-1, -1}));
  EXPECT_FALSE(eligible({2, 4}));
  EXPECT_FALSE(eligible({}));
}

}  // namespace
}  // namespace evenkeel
