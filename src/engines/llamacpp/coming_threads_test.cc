// Threads that come and go within a step (coming_threads.h, in the engine): the same numbers as threads that work together, whoever burns the cores, however the two
// kinds of graphs follow each other, and the helpers sleep where nothing is to be done.
#include <ggml-backend.h>
#include <ggml-cpu.h>
#include <ggml.h>
#include <gtest/gtest.h>
#include <time.h>

#include <atomic>
#include <chrono>
#include <memory>
#include <random>
#include <thread>
#include <vector>

extern "C" void evenkeel_threads_come_and_go(ggml_threadpool* threads, bool wanted);

namespace evenkeel {
namespace {

constexpr int kWidth = 256;
constexpr int kLayers = 40;

// Layers of a product, an addition and a function: nodes of several kinds, hundreds of them, each after the other.
class Layers {
 public:
  explicit Layers(int columns) : columns_(columns), memory_(size_t{64} << 20) {
    context_ = ggml_init({memory_.size(), memory_.data(), false});
    std::mt19937 random(3);
    std::normal_distribution<float> normal(0, 0.06F);
    input_ = ggml_new_tensor_2d(context_, GGML_TYPE_F32, kWidth, columns);
    ggml_tensor* now = input_;
    for (int i = 0; i < kLayers; ++i) {
      ggml_tensor* weights = ggml_new_tensor_2d(context_, GGML_TYPE_F16, kWidth, kWidth);
      auto* values = static_cast<ggml_fp16_t*>(weights->data);
      for (int k = 0; k < kWidth * kWidth; ++k) values[k] = ggml_fp32_to_fp16(normal(random));
      now = ggml_rms_norm(context_,
                          ggml_add(context_, ggml_mul_mat(context_, weights, now), input_), 1e-5F);
      now = ggml_silu(context_, now);
    }
    output_ = now;
    graph_ = ggml_new_graph(context_);
    ggml_build_forward_expand(graph_, output_);
  }
  ~Layers() { ggml_free(context_); }

  std::vector<float> Compute(ggml_threadpool* pool, int threads, unsigned seed) {
    std::mt19937 random(seed);
    std::normal_distribution<float> normal;
    auto* in = static_cast<float*>(input_->data);
    for (int k = 0; k < kWidth * columns_; ++k) in[k] = normal(random);
    ggml_cplan plan = ggml_graph_plan(graph_, threads, pool);
    work_.resize(plan.work_size);
    plan.work_data = work_.data();
    EXPECT_EQ(ggml_graph_compute(graph_, &plan), GGML_STATUS_SUCCESS);
    const auto* out = static_cast<const float*>(output_->data);
    return {out, out + kWidth * columns_};
  }

 private:
  int columns_;
  std::vector<uint8_t> memory_, work_;
  ggml_context* context_ = nullptr;
  ggml_tensor *input_ = nullptr, *output_ = nullptr;
  ggml_cgraph* graph_ = nullptr;
};

struct PoolFreed {
  void operator()(ggml_threadpool* pool) const { ggml_threadpool_free(pool); }
};
using Pool = std::unique_ptr<ggml_threadpool, PoolFreed>;

Pool PoolOf(int threads) {
  ggml_threadpool_params params = ggml_threadpool_params_default(threads);
  params.poll = 0;
  return Pool(ggml_threadpool_new(&params));
}

// Others who want the cores.
class Burners {
 public:
  explicit Burners(int count) {
    for (int i = 0; i < count; ++i) {
      threads_.emplace_back([this] {
        while (!stop_.load(std::memory_order_relaxed)) {
        }
      });
    }
  }
  ~Burners() {
    stop_ = true;
    for (std::thread& thread : threads_) thread.join();
  }

 private:
  std::atomic<bool> stop_ = false;
  std::vector<std::thread> threads_;
};

class ComingThreads : public testing::TestWithParam<int> {};

TEST_P(ComingThreads, GiveTheNumbersThatThreadsTogetherGive) {
  const int threads = GetParam();
  const Pool pool = PoolOf(threads);
  Layers one(1), eight(8);
  std::mt19937 random(7);
  std::vector<std::vector<float>> alone;
  for (unsigned seed = 0; seed < 10; ++seed) alone.push_back(one.Compute(pool.get(), 1, seed));
  const auto eight_alone = eight.Compute(pool.get(), 1, 5);
  for (const int burners : {0, 1, 3}) {
    const Burners others(burners);
    const auto end = std::chrono::steady_clock::now() + std::chrono::milliseconds(1500);
    for (int i = 0; std::chrono::steady_clock::now() < end; ++i) {
      // Kinds and numbers of threads change from graph to graph, or stay for some.
      const auto draw = static_cast<unsigned>(random());
      evenkeel_threads_come_and_go(pool.get(), draw % 4 != 0);
      const int taking = draw % 16 == 1
                             ? 1 + static_cast<int>(draw / 16 % static_cast<unsigned>(threads))
                             : threads;
      const auto seed = static_cast<unsigned>(i % 10);
      ASSERT_EQ(one.Compute(pool.get(), taking, seed), alone[seed]) << i;
      if (i % 7 == 0) {
        ASSERT_EQ(eight.Compute(pool.get(), taking, 5), eight_alone) << i;
      }
      if (i % 50 == 49) std::this_thread::sleep_for(std::chrono::milliseconds(2));
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Threads, ComingThreads, testing::Values(2, 3, 8));

// A worker that waits for its next request takes no core.
TEST(ComingThreadsAtRest, TakeNoTime) {
  const Pool pool = PoolOf(4);
  evenkeel_threads_come_and_go(pool.get(), true);
  Layers layers(1);
  for (unsigned i = 0; i < 20; ++i) layers.Compute(pool.get(), 4, i);
  const auto cpu = [] {
    timespec now{};
    ::clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &now);
    return static_cast<double>(now.tv_sec) + 1e-9 * static_cast<double>(now.tv_nsec);
  };
  const double before = cpu();
  std::this_thread::sleep_for(std::chrono::milliseconds(300));
  EXPECT_LT(cpu() - before, 0.02);
}

// A pool may end right behind a graph.
TEST(ComingThreadsAtRest, EndWithTheirPool) {
  Layers layers(1);
  for (unsigned i = 0; i < 200; ++i) {
    const Pool pool = PoolOf(3);
    evenkeel_threads_come_and_go(pool.get(), true);
    layers.Compute(pool.get(), 3, i);
  }
}

}  // namespace
}  // namespace evenkeel
