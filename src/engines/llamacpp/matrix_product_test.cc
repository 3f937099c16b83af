// The engine as it was built for this processor: a matrix product on every path that the processor offers, against plain arithmetic.
//
// Built wrongly, the AMX path dies of SIGILL at its first product (tools/patch_llamacpp.py says why): then this program does too.
#include <ggml-backend.h>
#include <ggml-cpu.h>
#include <ggml.h>
#include <gtest/gtest.h>

#include <cmath>
#include <fstream>
#include <memory>
#include <random>
#include <string>
#include <vector>

namespace evenkeel {
namespace {

constexpr int kDepth = 512;  // a multiple of every quantisation's block
constexpr int kRows = 128;

std::vector<ggml_backend_buffer_type_t> PathsOf(ggml_backend_dev_t device) {
  std::vector<ggml_backend_buffer_type_t> paths = {ggml_backend_dev_buffer_type(device)};
  auto* extra =
      reinterpret_cast<ggml_backend_dev_get_extra_bufts_t>(ggml_backend_reg_get_proc_address(
          ggml_backend_dev_backend_reg(device), "ggml_backend_dev_get_extra_bufts"));
  if (extra != nullptr) {
    for (auto* one = extra(device); one != nullptr && *one != nullptr; ++one) paths.push_back(*one);
  }
  return paths;
}

std::vector<float> Random(size_t count, unsigned seed) {
  std::mt19937 random(seed);
  std::normal_distribution<float> normal;
  std::vector<float> values(count);
  for (float& value : values) value = normal(random);
  return values;
}

struct Freed {
  void operator()(ggml_context* c) const { ggml_free(c); }
  void operator()(ggml_backend* b) const { ggml_backend_free(b); }
  void operator()(ggml_backend_buffer* b) const { ggml_backend_buffer_free(b); }
};

class Product {
 public:
  Product(ggml_backend_dev_t device, ggml_backend_buffer_type_t path, ggml_type type, int columns,
          int rows = kRows)
      : device_(device), columns_(columns), rows_(rows) {
    const auto context = [] {
      return std::unique_ptr<ggml_context, Freed>(
          ggml_init({ggml_tensor_overhead() * 8 + ggml_graph_overhead(), nullptr, true}));
    };
    weights_context_ = context();
    context_ = context();
    weights_ = ggml_new_tensor_2d(weights_context_.get(), type, kDepth, rows);
    input_ = ggml_new_tensor_2d(context_.get(), GGML_TYPE_F32, kDepth, columns);
    output_ = ggml_mul_mat(context_.get(), weights_, input_);
    weights_buffer_.reset(
        ggml_backend_buft_alloc_buffer(path, ggml_backend_buft_get_alloc_size(path, weights_)));
    ggml_backend_buffer_set_usage(weights_buffer_.get(), GGML_BACKEND_BUFFER_USAGE_WEIGHTS);
    ggml_backend_tensor_alloc(weights_buffer_.get(), weights_,
                              ggml_backend_buffer_get_base(weights_buffer_.get()));
  }

  bool supported() const { return ggml_backend_dev_supports_op(device_, output_); }

  // The square of the error over that of the result.
  double Error() {
    const auto plain = Random(static_cast<size_t>(kDepth * rows_), 1);
    const std::vector<std::byte> stored = SetWeights(plain);
    // What is stored is what counts, not what it was made from.
    std::vector<float> weights(plain.size());
    if (weights_->type == GGML_TYPE_F32) {
      weights = plain;
    } else {
      ggml_get_type_traits(weights_->type)->to_float(stored.data(), weights.data(), kDepth * rows_);
    }
    const auto input = Random(static_cast<size_t>(kDepth * columns_), 2);
    const std::vector<float> output = Compute(input);
    double error = 0;
    double size = 0;
    for (int c = 0; c < columns_; ++c) {
      for (int r = 0; r < rows_; ++r) {
        double sum = 0;
        for (int k = 0; k < kDepth; ++k)
          sum += static_cast<double>(weights[static_cast<size_t>(r * kDepth + k)]) *
                 static_cast<double>(input[static_cast<size_t>(c * kDepth + k)]);
        const double got = static_cast<double>(output[static_cast<size_t>(c * rows_ + r)]);
        error += (got - sum) * (got - sum);
        size += sum * sum;
      }
    }
    return error / size;
  }

  // Of the first columns of the one input that all products have.
  std::vector<float> Output() {
    SetWeights(Random(static_cast<size_t>(kDepth * rows_), 1));
    return Compute(Random(static_cast<size_t>(kDepth * columns_), 2));
  }

  // The same, each row with each column by itself, as ggml multiplies them.
  std::vector<float> PairByPair() {
    const std::vector<std::byte> rows = SetWeights(Random(static_cast<size_t>(kDepth * rows_), 1));
    const size_t row_bytes = ggml_row_size(weights_->type, kDepth);
    const ggml_type_traits_cpu* pair = ggml_get_type_traits_cpu(weights_->type);
    const auto quantise = ggml_get_type_traits_cpu(pair->vec_dot_type)->from_float;
    const auto input = Random(static_cast<size_t>(kDepth * columns_), 2);
    std::vector<std::byte> column(ggml_row_size(pair->vec_dot_type, kDepth));
    std::vector<float> output;
    for (int c = 0; c < columns_; ++c) {
      quantise(&input[static_cast<size_t>(c * kDepth)], column.data(), kDepth);
      for (int r = 0; r < rows_; ++r) {
        float product = 0;
        pair->vec_dot(kDepth, &product, 0, &rows[static_cast<size_t>(r) * row_bytes], 0,
                      column.data(), 0, 1);
        output.push_back(product);
      }
    }
    return output;
  }

 private:
  std::vector<std::byte> SetWeights(const std::vector<float>& plain) {
    std::vector<std::byte> stored(ggml_nbytes(weights_));
    ggml_quantize_chunk(weights_->type, plain.data(), stored.data(), 0, rows_, kDepth, nullptr);
    ggml_backend_tensor_set(weights_, stored.data(), 0, stored.size());
    return stored;
  }
  std::vector<float> Compute(const std::vector<float>& input) {
    const std::unique_ptr<ggml_backend, Freed> backend(ggml_backend_dev_init(device_, nullptr));
    ggml_backend_cpu_set_n_threads(backend.get(), 2);
    const std::unique_ptr<ggml_backend_buffer, Freed> buffer(
        ggml_backend_alloc_ctx_tensors(context_.get(), backend.get()));
    ggml_backend_tensor_set(input_, input.data(), 0, ggml_nbytes(input_));
    ggml_cgraph* graph = ggml_new_graph(context_.get());
    ggml_build_forward_expand(graph, output_);
    EXPECT_EQ(ggml_backend_graph_compute(backend.get(), graph), GGML_STATUS_SUCCESS);
    std::vector<float> output(static_cast<size_t>(rows_ * columns_));
    ggml_backend_tensor_get(output_, output.data(), 0, ggml_nbytes(output_));
    return output;
  }

  ggml_backend_dev_t device_;
  const int columns_, rows_;
  std::unique_ptr<ggml_context, Freed> weights_context_, context_;
  std::unique_ptr<ggml_backend_buffer, Freed> weights_buffer_;
  ggml_tensor* weights_ = nullptr;
  ggml_tensor* input_ = nullptr;
  ggml_tensor* output_ = nullptr;
};

// With q4_1_product.h, and on processors that lack what that needs too: an answer does not depend on how many are computed beside it.
TEST(MatrixProductTest, Q41ColumnsGiveTogetherWhatEachPairGivesAlone) {
  ggml_backend_dev_t device = ggml_backend_dev_by_type(GGML_BACKEND_DEVICE_TYPE_CPU);
  ASSERT_NE(device, nullptr);
  const auto path = ggml_backend_dev_buffer_type(device);
  for (const int rows : {1, 8, 13, 128, 131}) {
    for (const int columns : {1, 2, 3, 4, 5, 7, 16}) {
      Product product(device, path, GGML_TYPE_Q4_1, columns, rows);
      const auto together = product.Output();
      const auto alone = product.PairByPair();
      for (int c = 0; c < columns; ++c) {
        for (int r = 0; r < rows; ++r) {
          const auto at = static_cast<size_t>(c * rows + r);
          ASSERT_EQ(together[at], alone[at])
              << rows << " rows, column " << c << " of " << columns << ", row " << r;
        }
      }
    }
  }
}

TEST(MatrixProductTest, IsRightOnEveryPathOfThisProcessor) {
  ggml_backend_dev_t device = ggml_backend_dev_by_type(GGML_BACKEND_DEVICE_TYPE_CPU);
  ASSERT_NE(device, nullptr);
  std::string paths;
  for (const auto path : PathsOf(device)) {
    int products = 0;
    for (const ggml_type type : {GGML_TYPE_F32, GGML_TYPE_F16, GGML_TYPE_BF16, GGML_TYPE_Q4_0,
                                 GGML_TYPE_Q4_1, GGML_TYPE_Q8_0, GGML_TYPE_Q4_K, GGML_TYPE_Q6_K}) {
      // One column is the way of a single answer, more that of prompts and batches.
      for (const int columns : {1, 3, 16, 96}) {
        Product product(device, path, type, columns);
        if (!product.supported()) continue;
        // The input is quantised to 8 bits on its way in most of them.
        EXPECT_LT(product.Error(), 1e-3)
            << ggml_backend_buft_name(path) << " " << ggml_type_name(type) << " x" << columns;
        ++products;
      }
    }
    paths += std::string(ggml_backend_buft_name(path)) + "=" + std::to_string(products) + " ";
  }
  RecordProperty("paths", paths);
  // Where the processor has AMX, its path was among them.
  std::ifstream in("/proc/cpuinfo");
  const std::string cpu((std::istreambuf_iterator<char>(in)), std::istreambuf_iterator<char>());
  if (cpu.find("amx_int8") != std::string::npos && cpu.find("avx512_vnni") != std::string::npos) {
    EXPECT_NE(paths.find("AMX="), std::string::npos) << paths;
    EXPECT_EQ(paths.find("AMX=0 "), std::string::npos) << paths;
  }
}

}  // namespace
}  // namespace evenkeel
