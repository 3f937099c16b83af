// The engine's attention, as it was built for this processor, against plain arithmetic in double: one sequence, many, prompts beside
// answers. The tolerance is below what ggml's own rows reach, whose sums are in 16 bits: so it also fails where cell_attention.h is
// left out.
#include <ggml-backend.h>
#include <ggml-cpu.h>
#include <ggml.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <functional>
#include <memory>
#include <random>
#include <string>
#include <vector>

namespace evenkeel {
namespace {

struct Freed {
  void operator()(ggml_context* c) const { ggml_free(c); }
  void operator()(ggml_backend* b) const { ggml_backend_free(b); }
  void operator()(ggml_backend_buffer* b) const { ggml_backend_buffer_free(b); }
};

struct Case {
  std::string name;
  int rows, cells, heads, key_heads, size, threads;
  std::function<bool(int row, int cell)> sees;
};

// What ggml stores of random values: 16 bits of each.
std::vector<ggml_fp16_t> Stored(size_t count, unsigned seed) {
  std::mt19937 random(seed);
  std::normal_distribution<float> normal;
  std::vector<ggml_fp16_t> values(count);
  for (auto& value : values) value = ggml_fp32_to_fp16(normal(random));
  return values;
}

class Attention {
 public:
  explicit Attention(const Case& c)
      : c_(c),
        k_(Stored(Size(c.cells, c.key_heads), 1)),
        v_(Stored(Size(c.cells, c.key_heads), 2)) {
    std::mt19937 random(3);
    std::normal_distribution<float> normal;
    q_.resize(Size(c.rows, c.heads));
    for (float& value : q_) value = normal(random);
    for (int row = 0; row < c.rows; ++row) {
      for (int cell = 0; cell < c.cells; ++cell)
        mask_.push_back(ggml_fp32_to_fp16(c.sees(row, cell) ? 0.0F : -INFINITY));
    }
  }

  // NaN in the keys of a cell, all heads.
  void Break(int cell) {
    const size_t count = Size(1, c_.key_heads);
    std::fill_n(k_.begin() + static_cast<std::ptrdiff_t>(static_cast<size_t>(cell) * count), count,
                ggml_fp32_to_fp16(NAN));
  }

  // [rows][heads][size]
  std::vector<float> Engine() {
    const std::unique_ptr<ggml_context, Freed> context(
        ggml_init({ggml_tensor_overhead() * 16 + ggml_graph_overhead(), nullptr, true}));
    ggml_context* at = context.get();
    ggml_tensor* q = ggml_new_tensor_3d(at, GGML_TYPE_F32, c_.size, c_.rows, c_.heads);
    // As a cache holds them: the heads of a cell lie together.
    ggml_tensor* k = ggml_new_tensor_3d(at, GGML_TYPE_F16, c_.size, c_.key_heads, c_.cells);
    ggml_tensor* v = ggml_new_tensor_3d(at, GGML_TYPE_F16, c_.size, c_.key_heads, c_.cells);
    ggml_tensor* mask = ggml_new_tensor_2d(at, GGML_TYPE_F16, c_.cells, c_.rows);
    ggml_tensor* out =
        ggml_flash_attn_ext(at, q, ggml_permute(at, k, 0, 2, 1, 3), ggml_permute(at, v, 0, 2, 1, 3),
                            mask, Scale(), 0.0F, 0.0F);
    const std::unique_ptr<ggml_backend, Freed> backend(ggml_backend_cpu_init());
    ggml_backend_cpu_set_n_threads(backend.get(), c_.threads);
    const std::unique_ptr<ggml_backend_buffer, Freed> buffer(
        ggml_backend_alloc_ctx_tensors(at, backend.get()));
    ggml_backend_tensor_set(q, q_.data(), 0, ggml_nbytes(q));
    ggml_backend_tensor_set(k, k_.data(), 0, ggml_nbytes(k));
    ggml_backend_tensor_set(v, v_.data(), 0, ggml_nbytes(v));
    ggml_backend_tensor_set(mask, mask_.data(), 0, ggml_nbytes(mask));
    ggml_cgraph* graph = ggml_new_graph(at);
    ggml_build_forward_expand(graph, out);
    EXPECT_EQ(ggml_backend_graph_compute(backend.get(), graph), GGML_STATUS_SUCCESS);
    std::vector<float> result(q_.size());
    ggml_backend_tensor_get(out, result.data(), 0, ggml_nbytes(out));
    return result;
  }

  std::vector<double> Plain() const {
    std::vector<double> result;
    for (int row = 0; row < c_.rows; ++row) {
      for (int head = 0; head < c_.heads; ++head) {
        const auto one = PlainRow(row, head);
        result.insert(result.end(), one.begin(), one.end());
      }
    }
    return result;
  }

 private:
  size_t Size(int places, int heads) const {
    return static_cast<size_t>(places) * static_cast<size_t>(heads) * static_cast<size_t>(c_.size);
  }
  float Scale() const { return 1.0F / std::sqrt(static_cast<float>(c_.size)); }

  std::vector<double> PlainRow(int row, int head) const {
    const auto size = static_cast<size_t>(c_.size);
    const float* q =
        &q_[(static_cast<size_t>(head) * static_cast<size_t>(c_.rows) + static_cast<size_t>(row)) *
            size];
    std::vector<double> sum(size);
    double weights = 0;
    for (int cell = 0; cell < c_.cells; ++cell) {
      if (!c_.sees(row, cell)) continue;
      const size_t at = (static_cast<size_t>(cell) * static_cast<size_t>(c_.key_heads) +
                         static_cast<size_t>(head / (c_.heads / c_.key_heads))) *
                        size;
      double score = 0;
      for (size_t i = 0; i < size; ++i) score += double{q[i]} * ggml_fp16_to_fp32(k_[at + i]);
      const double weight = std::exp(score * Scale());
      weights += weight;
      for (size_t i = 0; i < size; ++i) sum[i] += weight * ggml_fp16_to_fp32(v_[at + i]);
    }
    for (double& value : sum) value = weights > 0 ? value / weights : 0;
    return sum;
  }

  const Case& c_;
  std::vector<ggml_fp16_t> k_;
  const std::vector<ggml_fp16_t> v_;
  std::vector<float> q_;
  std::vector<ggml_fp16_t> mask_;
};

class CellAttentionTest : public ::testing::TestWithParam<Case> {};

TEST_P(CellAttentionTest, IsWhatPlainArithmeticGives) {
  Attention attention(GetParam());
  const auto engine = attention.Engine();
  const auto plain = attention.Plain();
  ASSERT_EQ(engine.size(), plain.size());
  double worst = 0;
  for (size_t i = 0; i < plain.size(); ++i)
    worst = std::max(worst, std::abs(engine[i] - plain[i]));  // NaN is caught by the sum below
  EXPECT_LT(worst, 2e-5);
  double sum = 0;
  for (const float value : engine) sum += value;
  EXPECT_TRUE(std::isfinite(sum));
}

bool Causal(int row, int cell) { return cell <= row + 200; }
// Answers of eight sequences whose tokens lie by turns; the last row sees nothing.
bool ByTurns(int row, int cell) { return row < 15 && cell % 8 == row % 8; }
// 20 answers, then two prompts of the same length, the cells of one after the other's.
bool Mixed(int row, int cell) {
  if (row < 20) return cell >= 200 && cell % 20 == row;
  const int prompt = (row - 20) / 50, token = (row - 20) % 50;
  return cell >= prompt * 60 && cell <= prompt * 60 + token;
}
// Two prompts with one beginning: the first cells are the same, all others are not.
bool SharedBeginning(int row, int cell) {
  return cell < 70 || (cell >= 100 && cell % 2 == row / 24 && cell < 100 + 2 * (row % 24 + 1));
}

std::vector<Case> Cases() {
  return {
      {"OneRow", 1, 777, 9, 3, 64, 2, [](int, int cell) { return cell % 3 != 1; }},
      {"OneRowOneCell", 1, 33, 4, 4, 32, 3, [](int, int cell) { return cell == 32; }},
      {"OneRowOfMoreThreads", 1, 40, 2, 1, 16, 4, [](int, int cell) { return cell < 20; }},
      {"NothingSeen", 1, 64, 3, 1, 64, 2, [](int, int) { return false; }},
      {"Prompt", 96, 300, 9, 3, 64, 2, Causal},
      {"PromptOfWideHeads", 70, 300, 8, 2, 128, 2, Causal},
      {"PromptOfOddHeads", 40, 300, 6, 6, 80, 1, Causal},
      {"PromptOfWidestHeads", 33, 300, 2, 1, 256, 2, Causal},
      {"AnswersByTurns", 16, 512, 9, 3, 64, 2, ByTurns},
      {"AnswersByTurnsOneThread", 16, 500, 12, 2, 64, 1, ByTurns},
      {"FewAnswers", 3, 512, 9, 3, 64, 2, ByTurns},
      {"AnswersAndPrompts", 120, 512, 9, 3, 64, 2, Mixed},
      {"SharedBeginning", 48, 256, 4, 2, 64, 2, SharedBeginning},
      {"Window", 96, 300, 9, 3, 64, 2,
       [](int row, int cell) { return cell <= row && cell > row - 40; }},
      {"FewRowsOfOneKeyHead", 2, 500, 5, 1, 64, 4,
       [](int row, int cell) { return cell % 2 == row; }},
      {"PromptAtTheEndOfTheCache", 64, 3000, 4, 2, 64, 2,
       [](int row, int cell) { return cell > 2900 && cell <= 2910 + row; }},
      {"ManyHeadsOfOneKey", 20, 100, 40, 1, 32, 2, [](int row, int cell) { return cell <= row; }},
  };
}

INSTANTIATE_TEST_SUITE_P(All, CellAttentionTest, ::testing::ValuesIn(Cases()),
                         [](const auto& one) { return one.param.name; });

// Values of a row's answer that are NaN.
std::ptrdiff_t Broken(const Case& c, const std::vector<float>& answer, int row) {
  const auto of_row = static_cast<std::ptrdiff_t>(c.heads) * c.size;
  const auto begin = answer.begin() + row * of_row;
  return std::count_if(begin, begin + of_row, [](float value) { return std::isnan(value); });
}

// What is broken in the cache is not to look like an answer, whichever thread it falls to.
TEST(CellAttentionNanTest, ARowThatSeesNanGivesNan) {
  const Case c{"", 1, 256, 4, 2, 64, 2, [](int, int cell) { return cell % 2 == 0; }};
  const auto all = static_cast<std::ptrdiff_t>(c.heads) * c.size;
  for (const int cell : {0, 100, 254}) {
    Attention attention(c);
    attention.Break(cell);
    EXPECT_EQ(Broken(c, attention.Engine(), 0), all) << cell;
  }
  Attention unseen(c);
  unseen.Break(101);
  EXPECT_EQ(Broken(c, unseen.Engine(), 0), 0);
  // All that one of the threads has to look at, then all that both have: no greatest score is left there.
  for (const int end : {128, 256}) {
    Attention attention(c);
    for (int cell = 0; cell < end; ++cell) attention.Break(cell);
    EXPECT_EQ(Broken(c, attention.Engine(), 0), all) << end;
  }
}

TEST(CellAttentionNanTest, OfManyRowsThoseThatSeeNanGiveNanAndOtherSequencesDoNot) {
  // Eight sequences by turns; all that the third sees is broken, and one cell of the sixth's.
  const Case c{"", 16, 512, 4, 2, 64, 2, [](int row, int cell) { return cell % 8 == row % 8; }};
  Attention attention(c);
  for (int cell = 2; cell < c.cells; cell += 8) attention.Break(cell);
  attention.Break(5 + 8 * 40);
  const auto answer = attention.Engine();
  for (int row = 0; row < c.rows; ++row) {
    const bool broken = row % 8 == 2 || row % 8 == 5;
    EXPECT_EQ(Broken(c, answer, row), broken ? c.heads * c.size : 0) << row;
  }
}

}  // namespace
}  // namespace evenkeel
