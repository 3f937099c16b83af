// The direct way of running against the plain one, on models that are known to trip it.
#include "engines/openvino/model_runner.h"

#include <gtest/gtest.h>

#include <cstring>
#include <functional>
#include <openvino/openvino.hpp>
#include <openvino/opsets/opset13.hpp>

#include "engines/arena_sink.h"
#include "engines/openvino/model_signature.h"

namespace evenkeel {
namespace {

namespace op = ov::opset13;
using Value = ov::Output<ov::Node>;
using Build = std::function<ov::OutputVector(Value, Value)>;

Value Add(Value x, Value y) { return std::make_shared<op::Add>(x, y); }
Value Relu(Value x) { return std::make_shared<op::Relu>(x); }
Value Flat(Value x) {
  return std::make_shared<op::Reshape>(x, op::Constant::create(ov::element::i64, {2}, {-1, 2}),
                                       false);
}

struct Graph {
  const char* name;
  bool direct;  // expected to run the direct way
  Build build;
};

const std::vector<Graph>& Graphs() {
  static const std::vector<Graph> graphs = {
      {"sum", true, [](Value a, Value b) { return ov::OutputVector{Add(a, b)}; }},
      {"passed through", false,
       [](Value a, Value b) {
         return ov::OutputVector{a, Add(a, b)};
       }},
      {"reshaped only", true,
       [](Value a, Value b) {
         return ov::OutputVector{Flat(a), Add(a, b)};
       }},
      {"one value, two outputs", false,
       [](Value a, Value b) {
         const Value s = Add(a, b);
         return ov::OutputVector{s, s};
       }},
      {"value and its consumer", true,
       [](Value a, Value b) {
         const Value s = Add(a, b);
         return ov::OutputVector{s, Relu(s), Flat(s)};
       }},
      {"split", true,
       [](Value a, Value b) {
         const auto s = std::make_shared<op::Split>(
             Add(a, b), op::Constant::create(ov::element::i64, {}, {1}), 2);
         return ov::OutputVector{s->output(0), s->output(1)};
       }},
  };
  return graphs;
}

TEST(ModelRunnerTest, BothWaysGiveTheSameForEveryKindOfOutput) {
  ov::Core core;
  alignas(64) static std::byte arenas[2][4096];
  alignas(64) static float inputs[2][2][64];
  for (const Graph& graph : Graphs()) {
    for (const int threads : {1, 2}) {
      SCOPED_TRACE(std::string(graph.name) + ", threads " + std::to_string(threads));
      const auto a = std::make_shared<op::Parameter>(ov::element::f32, ov::PartialShape{-1, 2});
      const auto b = std::make_shared<op::Parameter>(ov::element::f32, ov::PartialShape{-1, 2});
      const auto compiled = core.compile_model(
          std::make_shared<ov::Model>(graph.build(a, b), ov::ParameterVector{a, b}), "CPU",
          ov::AnyMap{ov::inference_num_threads(threads), ov::num_streams(1),
                     ov::hint::inference_precision(ov::element::f32)});
      const Signature signature = SignatureOf(compiled).value();
      ModelRunner runner(ov::CompiledModel(compiled), signature);
      auto reference = ov::CompiledModel(compiled).create_infer_request();
      for (int round = 0; round < 8; ++round) {
        const int slot = round % 2;
        const int64_t rows = 1 + round % 3;
        const size_t count = static_cast<size_t>(rows) * 2;
        std::vector<TensorView> views;
        for (uint32_t i = 0; i < 2; ++i) {
          for (size_t k = 0; k < count; ++k)
            inputs[slot][i][k] =
                static_cast<float>(static_cast<int>(k) - round + static_cast<int>(i) * 100);
          views.push_back({i, DataType::kFp32, Shape{rows, 2},
                           std::as_bytes(std::span(inputs[slot][i], count))});
          reference.set_input_tensor(
              i, ov::Tensor(ov::element::f32, {static_cast<size_t>(rows), 2}, inputs[slot][i]));
        }
        reference.start_async();
        reference.wait();
        const std::vector<float> before(inputs[slot][0], inputs[slot][0] + count);
        std::vector<std::vector<float>> expected;
        for (size_t i = 0; i < signature.outputs.size(); ++i) {
          const auto tensor = reference.get_output_tensor(i);
          expected.emplace_back(tensor.data<float>(), tensor.data<float>() + tensor.get_size());
        }
        ArenaSink sink(arenas[slot], signature.outputs.size());
        ASSERT_TRUE(runner.Run(views, sink).ok());
        std::vector<TensorView> outputs;
        ASSERT_TRUE(sink.Collect(&outputs).ok());
        for (size_t i = 0; i < expected.size(); ++i) {
          ASSERT_EQ(outputs[i].data.size(), expected[i].size() * sizeof(float))
              << "round " << round;
          EXPECT_EQ(std::memcmp(outputs[i].data.data(), expected[i].data(), outputs[i].data.size()),
                    0)
              << "round " << round << " output " << i;
        }
        EXPECT_EQ(std::vector<float>(inputs[slot][0], inputs[slot][0] + count), before)
            << "input overwritten";
      }
      EXPECT_EQ(runner.direct(), graph.direct);
    }
  }
}

// The vendor's infer() hides this failure with one thread and leaves its queue blocked: the runner must find and clear it.
TEST(ModelRunnerTest, StaysDirectAfterAFailureThatTheEngineHides) {
  ov::Core core;
  const auto a = std::make_shared<op::Parameter>(ov::element::f32, ov::PartialShape{-1, 2});
  const auto b = std::make_shared<op::Parameter>(ov::element::f32, ov::PartialShape{-1, 2});
  const auto compiled = core.compile_model(
      std::make_shared<ov::Model>(ov::OutputVector{Add(a, b)}, ov::ParameterVector{a, b}), "CPU",
      ov::AnyMap{ov::inference_num_threads(1), ov::num_streams(1)});
  ModelRunner runner(ov::CompiledModel(compiled), SignatureOf(compiled).value());
  alignas(64) static std::byte arena[4096];
  alignas(64) static float values[64];
  const auto run = [&](int64_t rows_a, int64_t rows_b) {
    for (size_t i = 0; i < 64; ++i) values[i] = static_cast<float>(i);
    std::vector<TensorView> views;
    for (const int64_t rows : {rows_a, rows_b}) {
      views.push_back({static_cast<uint32_t>(views.size()), DataType::kFp32, Shape{rows, 2},
                       std::as_bytes(std::span(values, static_cast<size_t>(rows) * 2))});
    }
    ArenaSink sink(arena, 1);
    return runner.Run(views, sink);
  };
  ASSERT_TRUE(run(2, 2).ok());
  for (int round = 0; round < 20; ++round) {
    EXPECT_THROW(static_cast<void>(run(2, 3)), std::exception);
    ASSERT_TRUE(runner.direct());
    ASSERT_TRUE(run(3, 3).ok());
    float last;
    std::memcpy(&last, arena + 20, sizeof last);
    ASSERT_EQ(last, 10.0f) << "round " << round;
  }
}

}  // namespace
}  // namespace evenkeel
