#include "cluster/measure/host_kernels.h"

// The program is built for every x86-64; these loops are compiled several times, and the loader takes the widest that works here.
#if defined(__x86_64__) && defined(__gnu_linux__) && !defined(__SANITIZE_THREAD__) && \
    !defined(__SANITIZE_ADDRESS__) && !defined(__clang__)
#define EVENKEEL_WIDE __attribute__((target_clones("arch=x86-64-v4", "arch=x86-64-v3", "default")))
#else
#define EVENKEEL_WIDE
#endif

namespace evenkeel {
namespace {

constexpr int kLanes =
    128;  // eight of the widest registers: enough to hide how long an operation takes
constexpr int kRounds = 20'000;

EVENKEEL_WIDE void Burst(float* values, float factor, float summand) {
  float kept[kLanes];
  for (int i = 0; i < kLanes; ++i) kept[i] = values[i];
  for (int round = 0; round < kRounds; ++round) {
    for (int i = 0; i < kLanes; ++i) kept[i] = kept[i] * factor + summand;
  }
  for (int i = 0; i < kLanes; ++i) values[i] = kept[i];
}

}  // namespace

double ComputePiece() {
  static volatile float factor = 0.999F, summand = 0.5F;
  thread_local float values[kLanes] = {};
  Burst(values, factor, summand);
  return 2.0 * kLanes * kRounds;
}

EVENKEEL_WIDE uint64_t SumOf(const uint64_t* words, size_t count) {
  uint64_t sums[32] = {};
  size_t i = 0;
  for (; i + 32 <= count; i += 32) {
    for (size_t j = 0; j < 32; ++j) sums[j] += words[i + j];
  }
  uint64_t sum = 0;
  for (; i < count; ++i) sum += words[i];
  for (const uint64_t one : sums) sum += one;
  return sum;
}

}  // namespace evenkeel
