// What an answer says of its tokens' probabilities, against the engine's own logits in a context of their own.
#include <gtest/gtest.h>
#include <llama.h>

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <filesystem>
#include <numeric>

#include "engines/llamacpp/step_loop.h"

namespace evenkeel {
namespace {

std::string ModelPath() {
  const char* folder = std::getenv("EVENKEEL_MODELS");
  return (folder != nullptr ? std::string(folder)
                            : std::string(EVENKEEL_SOURCE_DIR) + "/build/demo-models") +
         "/smollm2/model.gguf";
}

struct Told final : StepSink {
  void Token(const SequenceToken& token) override { tokens.push_back(token); }
  void End(const SequenceEnd& end) override { ends.push_back(end); }
  void Stepped(const StepReport& /*report*/) override {}
  std::vector<SequenceToken> tokens;
  std::vector<SequenceEnd> ends;
};

// Log of the softmax, in double.
std::vector<double> LogSoftmax(const float* logits, size_t count) {
  const double most = *std::max_element(logits, logits + count);
  double sum = 0;
  for (size_t i = 0; i < count; ++i) sum += std::exp(logits[i] - most);
  std::vector<double> out(count);
  for (size_t i = 0; i < count; ++i) out[i] = logits[i] - most - std::log(sum);
  return out;
}

TEST(LogprobTest, AreThoseOfTheEnginesLogits) {
  if (!std::filesystem::exists(ModelPath())) GTEST_SKIP() << "no " << ModelPath();
  LlmLoad load;
  load.path = ModelPath();
  load.slots = 1;
  load.context = 256;
  auto model = LlamaModel::Load(load);
  ASSERT_TRUE(model.ok()) << model.status().ToString();

  SequenceStart start;
  start.id = 1;
  const std::string text = "The capital of France is";
  start.prompt.resize(64);
  start.prompt.resize(static_cast<size_t>(llama_tokenize((*model)->vocab(), text.data(),
                                                         static_cast<int>(text.size()),
                                                         start.prompt.data(), 64, false, false)));
  start.max_tokens = 8;
  start.sampling.temperature = 0;
  start.sampling.seed = 1;
  start.top_logprobs = 5;
  start.ignore_eos = true;
  const std::vector<int32_t> prompt = start.prompt;
  Told told;
  StepLoop loop(**model, Duration{}, SteadyClock::Instance(), told);
  loop.Start(std::move(start));
  for (int i = 0; i < 100 && !loop.idle(); ++i) loop.Step();
  ASSERT_EQ(told.ends.size(), 1u);
  ASSERT_EQ(told.tokens.size(), 8u);

  // The same prompt and the same tokens, one batch a step as there.
  llama_context_params params = llama_context_default_params();
  params.n_ctx = 256;
  params.n_threads = params.n_threads_batch = 1;
  llama_context* const context = llama_init_from_model((*model)->model(), params);
  ASSERT_NE(context, nullptr);
  std::vector<int32_t> next = prompt;
  const auto count = static_cast<size_t>((*model)->vocabulary());
  // Sums in another order, kernels of another batch size: less than what tells two tokens apart by far.
  constexpr double kNoise = 0.05;
  for (const SequenceToken& token : told.tokens) {
    ASSERT_EQ(
        llama_decode(context, llama_batch_get_one(next.data(), static_cast<int>(next.size()))), 0);
    const std::vector<double> expected = LogSoftmax(llama_get_logits_ith(context, -1), count);
    ASSERT_TRUE(token.logprob.has_value());
    EXPECT_NEAR(token.logprob->logprob, expected[static_cast<size_t>(token.token)], kNoise);
    std::vector<int32_t> order(count);
    std::iota(order.begin(), order.end(), 0);
    std::partial_sort(order.begin(), order.begin() + 5, order.end(), [&](int32_t a, int32_t b) {
      return expected[static_cast<size_t>(a)] > expected[static_cast<size_t>(b)];
    });
    ASSERT_EQ(token.logprob->top.size(), 5u);
    for (size_t i = 0; i < 5; ++i)
      EXPECT_NEAR(token.logprob->top[i].second, expected[static_cast<size_t>(order[i])], kNoise)
          << i;
    EXPECT_EQ(token.logprob->bytes, (*model)->Piece(token.token, true));
    next = {token.token};
  }
  llama_free(context);
}

}  // namespace
}  // namespace evenkeel
