// Attention of a batch over a cache that all sequences share: each row reads the cells that its mask lets it see, and no others.
//
// tools/patch_llamacpp.py puts this file into ggml's CPU backend, in place of its flash attention where CellAttention::Fits. There every
// row looks at the mask of every cell for each of its heads, and rows of several sequences in one tile compute all that any of them
// sees; with the sequences of a batch in one cache that is most of a step's time. Here a row's visible cells are listed once for all
// heads, keys and values of a block of cells are widened to f32 once for the query heads (and rows with nearly the same cells) that
// share them, and scores, softmax and sums are vectors.
//
// q: f32 [head size, rows, heads]; k, v: f16 [head size, cells, key heads]; mask: f16 [cells, rows], 0 or what is added, -inf: not seen.
// Output as ggml's: f32 [head size, heads, rows]. Sums are f32 (ggml's own rows add values up in f16). A row that sees nothing gives 0.
// Source of the running softmax: Rabe and Staats, arXiv 2112.05682. Thread-safety: each thread of the graph takes items of its own_.
//
// It is compiled within ggml's ops.cpp, whose includes it needs (ggml_v_expf, the thread pool's chunks).
#pragma once

#if (defined(__AVX512F__) && defined(__AVX512DQ__)) || \
    (defined(__AVX2__) && defined(__F16C__) && defined(__FMA__))
#include <immintrin.h>

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <memory>
#include <utility>
#include <vector>

namespace evenkeel {

class CellAttention {
 public:
  static bool Fits(const ggml_tensor* dst) {
    const ggml_tensor *q = dst->src[0], *k = dst->src[1], *v = dst->src[2], *mask = dst->src[3];
    float max_bias, softcap;
    std::memcpy(&max_bias, reinterpret_cast<const char*>(dst->op_params) + 4, 4);
    std::memcpy(&softcap, reinterpret_cast<const char*>(dst->op_params) + 8, 4);
    return max_bias == 0 && softcap == 0 && dst->src[4] == nullptr && mask != nullptr &&
           mask->type == GGML_TYPE_F16 && mask->ne[2] == 1 && mask->ne[3] == 1 && q->ne[3] == 1 &&
           k->ne[3] == 1 && k->ne[2] == v->ne[2] && q->type == GGML_TYPE_F32 &&
           k->type == GGML_TYPE_F16 && v->type == GGML_TYPE_F16 && k->ne[0] <= kMostSize &&
           v->ne[0] <= kMostSize && k->ne[0] % kLanes == 0 && v->ne[0] % kLanes == 0 &&
           q->ne[2] / k->ne[2] <= kMostQueries;
  }

  CellAttention(const ggml_compute_params* params, ggml_tensor* dst)
      : params_(params), dst_(dst), q_(dst->src[0]), k_(dst->src[1]), v_(dst->src[2]), own_(Own()) {
    std::memcpy(&scale_, dst->op_params, 4);
    heads_a_key_ = static_cast<int>(q_->ne[2] / k_->ne[2]);
    key_vectors_ = static_cast<int>(k_->ne[0]) / kLanes;
    value_vectors_ = static_cast<int>(v_->ne[0]) / kLanes;
  }

  // One thread's part; every thread of the graph calls it.
  void Run() {
    const int64_t rows = q_->ne[1];
    const int threads = params_->nth;
    if (rows == 1 || rows * k_->ne[2] < threads) {
      for (int64_t row = 0; row < rows; ++row) {
        if (row > 0) ggml_barrier(params_->threadpool);  // what was found of the last one is read
        RunOneRow(row);
      }
      return;
    }
    // Many rows: some at a time, for all heads, so that what they see is listed once. Few: a key's heads apart, so that all threads have
    // work.
    const bool many = rows >= 4 * threads;
    const int64_t at_a_time =
        many ? std::clamp<int64_t>(rows / (4 * threads), 1,
                                   std::max(1, std::min(kMostRows, kMostQueries / heads_a_key_)))
             : 1;
    const int64_t parts = many ? 1 : k_->ne[2];
    const int64_t items = (rows + at_a_time - 1) / at_a_time * parts;
    if (params_->ith == 0) ggml_threadpool_chunk_set(params_->threadpool, threads);
    ggml_barrier(params_->threadpool);
    for (int64_t item = params_->ith; item < items;
         item = ggml_threadpool_chunk_add(params_->threadpool, 1)) {
      const int64_t end = std::min(rows, (item / parts + 1) * at_a_time);
      for (int64_t row = item / parts * at_a_time; row < end;) {
        const int count = Alike(row, end);
        List(row, count);
        ListAdded(row, count, 0, listed_);
        for (int64_t key_head = item % parts; key_head < k_->ne[2]; key_head += parts) {
          Attend(row, count, key_head, 0, listed_);
          for (int i = 0; i < count * heads_a_key_; ++i)
            Write(row + i / heads_a_key_, key_head * heads_a_key_ + i % heads_a_key_,
                  Sum(own_.sums[i]), &own_.out[Out(i)]);
        }
        row += count;
      }
    }
  }

 private:
#if defined(__AVX512F__) && defined(__AVX512DQ__)  // as ggml_v_expf asks
  static constexpr int kLanes = 16;
  using Vector = __m512;
  static Vector Load(const ggml_fp16_t* from) {
    return _mm512_cvtph_ps(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(from)));
  }
  static Vector Load(const float* from) { return _mm512_loadu_ps(from); }
  static void Store(float* to, Vector value) { _mm512_storeu_ps(to, value); }
  static Vector All(float value) { return _mm512_set1_ps(value); }
  static Vector MulAdd(Vector a, Vector b, Vector c) { return _mm512_fmadd_ps(a, b, c); }
  static float Sum(Vector value) { return _mm512_reduce_add_ps(value); }
  static float Greatest(Vector value) { return _mm512_reduce_max_ps(value); }
#else
  static constexpr int kLanes = 8;
  using Vector = __m256;
  static Vector Load(const ggml_fp16_t* from) {
    return _mm256_cvtph_ps(_mm_loadu_si128(reinterpret_cast<const __m128i*>(from)));
  }
  static Vector Load(const float* from) { return _mm256_loadu_ps(from); }
  static void Store(float* to, Vector value) { _mm256_storeu_ps(to, value); }
  static Vector All(float value) { return _mm256_set1_ps(value); }
  static Vector MulAdd(Vector a, Vector b, Vector c) { return _mm256_fmadd_ps(a, b, c); }
  static float Sum(Vector value) {
    float sum = 0;
    for (int i = 0; i < kLanes; ++i) sum += value[i];
    return sum;
  }
  static float Greatest(Vector value) {
    float most = value[0];
    for (int i = 1; i < kLanes; ++i) most = value[i] > most ? value[i] : most;
    return most;
  }
#endif
  static constexpr int kMostSize = 256;  // of a head, values
  static constexpr int kMostQueries =
      64;  // rows x query heads of a key head that are computed together
  static constexpr int kMostRows = 16;
  static constexpr int kParts = 8;  // of a row that all threads share
  static constexpr int kFewCells =
      8;  // by which rows that are computed together may differ, one from the next
  static constexpr uint16_t kUnseen = 0xFC00;  // -inf

  // What a thread needs between two calls: the lists grow to the cells of the cache and stay.
  struct Scratch {
    std::vector<int32_t> cells;           // that any of the rows sees, filled up to whole vectors
    std::vector<float> added[kMostRows];  // the mask of each
    alignas(64) float block[kLanes * kMostSize];       // keys, then values, of kLanes cells
    alignas(64) float q[kMostQueries * kMostSize];     // of each query: rows first, heads within
    alignas(64) float out[kMostQueries * kMostSize];   // sum of values x exp(score - most)
    alignas(64) float weights[kMostQueries * kLanes];  // exp(score - most) of the block
    alignas(64) Vector sums[kMostQueries];             // of the weights, by lane
    float most[kMostQueries];                          // greatest score so far
  };
  static Scratch& Own() {
    static thread_local std::unique_ptr<Scratch> scratch = std::make_unique<Scratch>();
    return *scratch;
  }
  size_t Out(int i) const { return static_cast<size_t>(i * value_vectors_ * kLanes); }

  // One row by all: the threads divide its cells, so that each key is read once, and put together what they found.
  void RunOneRow(int64_t row) {
    const int threads = params_->nth, heads = static_cast<int>(q_->ne[2]);
    const size_t stride =
        2 + Out(1);  // most, sum, values; ggml's plan has room for as much a thread
    float* found = static_cast<float*>(params_->wdata);
    // Not as many parts as threads: these may come and go, and sums of other parts add up in another order.
    const int parts = static_cast<int>(std::clamp<size_t>(
        params_->wsize / (sizeof(float) * stride * static_cast<size_t>(heads)), 1, kParts));
    List(row, 1);
    const int blocks = (listed_ + kLanes - 1) / kLanes;
    for (int part = params_->ith; part < parts; part += threads) {
      const int begin = blocks * part / parts * kLanes, end = blocks * (part + 1) / parts * kLanes;
      ListAdded(row, 1, begin, end);
      for (int64_t key_head = 0; key_head < k_->ne[2]; ++key_head) {
        Attend(row, 1, key_head, begin, end);
        for (int i = 0; i < heads_a_key_; ++i) {
          float* to =
              found + stride * static_cast<size_t>((key_head * heads_a_key_ + i) * parts + part);
          to[0] = own_.most[i];
          to[1] = Sum(own_.sums[i]);
          std::memcpy(to + 2, &own_.out[Out(i)], sizeof(float) * Out(1));
        }
      }
    }
    ggml_barrier(params_->threadpool);
    for (int head = params_->ith; head < heads; head += threads) {
      const float* of_head = found + stride * static_cast<size_t>(head * parts);
      float most = -INFINITY, sum = 0;
      for (int t = 0; t < parts; ++t)
        most = std::max(most, of_head[stride * static_cast<size_t>(t)]);
      std::memset(own_.out, 0, sizeof(float) * Out(1));
      for (int t = 0; t < parts; ++t) {
        const float* part = of_head + stride * static_cast<size_t>(t);
        const float by = most == -INFINITY ? 1.0f : expf(part[0] - most);  // NaN stays
        sum += part[1] * by;
        for (int j = 0; j < value_vectors_; ++j)
          Store(own_.out + j * kLanes,
                MulAdd(All(by), Load(part + 2 + j * kLanes), Load(own_.out + j * kLanes)));
      }
      Write(row, head, sum, own_.out);
    }
  }

  void Write(int64_t row, int64_t head, float sum, const float* out) {
    const Vector by = All(sum == 0 ? 0.0f : 1 / sum);
    float* to = reinterpret_cast<float*>(static_cast<char*>(dst_->data) +
                                         static_cast<size_t>(row) * dst_->nb[2] +
                                         static_cast<size_t>(head) * dst_->nb[1]);
    for (int j = 0; j < value_vectors_; ++j) Store(to + j * kLanes, Load(out + j * kLanes) * by);
  }

  const ggml_fp16_t* MaskOf(int64_t row) const {
    const ggml_tensor* mask = dst_->src[3];
    return reinterpret_cast<const ggml_fp16_t*>(static_cast<const char*>(mask->data) +
                                                static_cast<size_t>(row) * mask->nb[1]);
  }

  // How many rows from `row` on see nearly the same cells, each as the one before it.
  int Alike(int64_t row, int64_t end) const {
    int count = 1;
    while (row + count < end && IsNeighbour(row + count)) ++count;
    return count;
  }

  // The same sequence's next token sees what the last one sees and itself; with a window, not the oldest.
  bool IsNeighbour(int64_t row) const {
    const uint16_t *mine = MaskOf(row), *before = MaskOf(row - 1);
    const int64_t cells = k_->ne[1];
    int64_t cell = 0, differing = 0, common = 0;
    for (; cell + 32 <= cells && differing < kFewCells; cell += 32) {
      const uint32_t a = Seen(mine + cell), b = Seen(before + cell);
      differing += __builtin_popcount(a ^ b);
      common += __builtin_popcount(a & b);
    }
    for (; cell < cells && differing < kFewCells; ++cell) {
      const bool a = mine[cell] != kUnseen, b = before[cell] != kUnseen;
      differing += a != b;
      common += a && b;
    }
    return differing < kFewCells && differing <= common;
  }

  // Bits of the 32 cells from `cell` on that the row sees.
  static uint32_t Seen(const uint16_t* mask) {
#if defined(__AVX512BW__)
    return _mm512_cmpneq_epi16_mask(_mm512_loadu_si512(mask),
                                    _mm512_set1_epi16(static_cast<int16_t>(kUnseen)));
#else
    const __m256i unseen = _mm256_set1_epi16(static_cast<int16_t>(kUnseen));
    const __m256i low =
        _mm256_cmpeq_epi16(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(mask)), unseen);
    const __m256i high =
        _mm256_cmpeq_epi16(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(mask + 16)), unseen);
    const __m256i packed = _mm256_permute4x64_epi64(_mm256_packs_epi16(low, high), 0xD8);
    return ~static_cast<uint32_t>(_mm256_movemask_epi8(packed));
#endif
  }

  void List(int64_t row, int count) {
    const int64_t cells = k_->ne[1];
    const auto room = static_cast<size_t>(cells) + kLanes;
    if (own_.cells.size() < room) own_.cells.resize(room);
    const uint16_t* masks[kMostRows];
    for (int r = 0; r < count; ++r) masks[r] = MaskOf(row + r);
    int32_t* to = own_.cells.data();
    int64_t cell = 0;
    for (; cell + 32 <= cells; cell += 32) {
      uint32_t seen = 0;
      for (int r = 0; r < count; ++r) seen |= Seen(masks[r] + cell);
      for (; seen != 0; seen &= seen - 1) *to++ = static_cast<int32_t>(cell) + __builtin_ctz(seen);
    }
    for (; cell < cells; ++cell) {
      bool seen = false;
      for (int r = 0; r < count; ++r) seen = seen || masks[r][cell] != kUnseen;
      if (seen) *to++ = static_cast<int32_t>(cell);
    }
    listed_ = static_cast<int>(to - own_.cells.data());
    for (int i = listed_; i % kLanes != 0; ++i)
      own_.cells[static_cast<size_t>(i)] = own_.cells[static_cast<size_t>(listed_ - 1)];
  }

  // What the masks add to the list's cells [begin, end); `end` is the list's or between two vectors.
  void ListAdded(int64_t row, int count, int begin, int end) {
    for (int r = 0; r < count; ++r) {
      const uint16_t* mask = MaskOf(row + r);
      std::vector<float>& added = own_.added[r];
      const auto room = static_cast<size_t>(listed_) + kLanes;
      if (added.size() < room) added.resize(room);
      for (int i = begin; i < std::min(end, listed_); ++i)
        added[static_cast<size_t>(i)] =
            GGML_CPU_FP16_TO_FP32(mask[own_.cells[static_cast<size_t>(i)]]);
      if (end < listed_) continue;
      for (int i = listed_; i % kLanes != 0; ++i) added[static_cast<size_t>(i)] = -INFINITY;
    }
  }

  // The query heads of a key head, of `count` rows, over the cells [begin, end) of the list.
  void Attend(int64_t row, int count, int64_t key_head, int begin, int end) {
    const int queries = count * heads_a_key_;
    for (int i = 0; i < queries; ++i) {
      own_.most[i] = -INFINITY;
      own_.sums[i] = All(0);
      const char* q = static_cast<const char*>(q_->data) +
                      static_cast<size_t>(row + i / heads_a_key_) * q_->nb[1] +
                      static_cast<size_t>(key_head * heads_a_key_ + i % heads_a_key_) * q_->nb[2];
      std::memcpy(own_.q + i * key_vectors_ * kLanes, q,
                  sizeof(float) * kLanes * static_cast<size_t>(key_vectors_));
    }
    std::memset(own_.out, 0, sizeof(float) * Out(queries));
    // Sizes that most models have, so that the loops over a head's vectors are unrolled.
    if (key_vectors_ == 64 / kLanes && value_vectors_ == 64 / kLanes)
      return Blocks<64 / kLanes>(queries, key_head, begin, end);
    if (key_vectors_ == 128 / kLanes && value_vectors_ == 128 / kLanes)
      return Blocks<128 / kLanes>(queries, key_head, begin, end);
    Blocks<0>(queries, key_head, begin, end);
  }

  template <int kVectors>
  void Blocks(int queries, int64_t key_head, int begin, int end) {
    const int keys = kVectors > 0 ? kVectors : key_vectors_,
              values = kVectors > 0 ? kVectors : value_vectors_;
    for (int at = begin; at < end; at += kLanes) {
      if (at + kLanes < end) {
        Ahead(k_, key_head, at + kLanes, keys);
        Ahead(v_, key_head, at + kLanes, values);
      }
      Widen(k_, key_head, at, keys);
      for (int i = 0; i < queries; ++i)
        Score(i, own_.added[i / heads_a_key_].data() + at, keys, values);
      Widen(v_, key_head, at, values);
      int i = 0;
      for (; i + 1 < queries; i += 2) Add<2>(i, values);
      if (i < queries) Add<1>(i, values);
    }
  }

  // Keys or values of the kLanes cells from `at` in the list on, as f32 rows.
  void Widen(const ggml_tensor* from, int64_t key_head, int at, int vectors) {
    const char* data =
        static_cast<const char*>(from->data) + static_cast<size_t>(key_head) * from->nb[2];
    for (int i = 0; i < kLanes; ++i) {
      const auto cell = static_cast<size_t>(own_.cells[static_cast<size_t>(at + i)]);
      const auto* row = reinterpret_cast<const ggml_fp16_t*>(data + cell * from->nb[1]);
      float* to = own_.block + i * vectors * kLanes;
      for (int j = 0; j < vectors; ++j) Store(to + j * kLanes, Load(row + j * kLanes));
    }
  }

  // Asks for the lines that Widen will read, which are too scattered for the processor to guess.
  void Ahead(const ggml_tensor* from, int64_t key_head, int at, int vectors) {
    const char* data =
        static_cast<const char*>(from->data) + static_cast<size_t>(key_head) * from->nb[2];
    for (int i = 0; i < kLanes; ++i) {
      const char* row =
          data + static_cast<size_t>(own_.cells[static_cast<size_t>(at + i)]) * from->nb[1];
      for (int j = 0; j < vectors * kLanes * 2; j += 64) _mm_prefetch(row + j, _MM_HINT_T0);
    }
  }

  template <int kStride, int... kLane>
  static Vector Halves(Vector a, Vector b, std::integer_sequence<int, kLane...>) {
    return __builtin_shufflevector(a, b, ((kLane & kStride) != 0 ? kLanes + kLane : kLane)...) +
           __builtin_shufflevector(a, b,
                                   ((kLane & kStride) != 0 ? kLanes : 0) + (kLane ^ kStride)...);
  }
  // Lane i of the first: the sum of the lanes of parts[i].
  template <int kStride>
  static void Fold(Vector* parts) {
    for (int i = 0; i < kStride; ++i)
      parts[i] =
          Halves<kStride>(parts[i], parts[i + kStride], std::make_integer_sequence<int, kLanes>());
    if constexpr (kStride > 1) Fold<kStride / 2>(parts);
  }

  [[gnu::always_inline]] void Score(int i, const float* added, int keys, int values) {
    const float* q = own_.q + i * keys * kLanes;
    Vector parts[kLanes];
    for (int cell = 0; cell < kLanes; ++cell) {
      const float* key = own_.block + cell * keys * kLanes;
      Vector sum = Load(q) * Load(key);
      for (int j = 1; j < keys; ++j)
        sum = MulAdd(Load(q + j * kLanes), Load(key + j * kLanes), sum);
      parts[cell] = sum;
    }
    Fold<kLanes / 2>(parts);
    const Vector scores = MulAdd(parts[0], All(scale_), Load(added));
    const float most = Greatest(scores);
    if (most > own_.most[i]) {
      const Vector by = All(own_.most[i] == -INFINITY ? 0.0f : expf(own_.most[i] - most));
      own_.most[i] = most;
      own_.sums[i] = own_.sums[i] * by;
      float* out = own_.out + i * values * kLanes;
      for (int j = 0; j < values; ++j) Store(out + j * kLanes, Load(out + j * kLanes) * by);
    }
    // exp(-inf) is 0, and NaN stays NaN: what is broken in the cache is not to look like an answer.
    const Vector weights =
        ggml_v_expf(scores - All(own_.most[i] == -INFINITY ? 0.0f : own_.most[i]));
    own_.sums[i] = own_.sums[i] + weights;
    Store(own_.weights + i * kLanes, weights);
  }

  // The block's values, weighted, to the sums of kQueries queries from `i` on.
  template <int kQueries>
  [[gnu::always_inline]] void Add(int i, int values) {
    constexpr int kAtOnce = 4;  // vectors of a head: kQueries x as many sums are in registers
    for (int from = 0; from < values; from += kAtOnce) {
      const int vectors = std::min(kAtOnce, values - from);
      Vector sums[kQueries][kAtOnce];
      const auto out = [&](int query, int j) {
        return own_.out + ((i + query) * values + from + j) * kLanes;
      };
      for (int query = 0; query < kQueries; ++query)
        for (int j = 0; j < vectors; ++j) sums[query][j] = Load(out(query, j));
      for (int cell = 0; cell < kLanes; ++cell) {
        for (int j = 0; j < vectors; ++j) {
          const Vector value = Load(own_.block + (cell * values + from + j) * kLanes);
          for (int query = 0; query < kQueries; ++query)
            sums[query][j] =
                MulAdd(All(own_.weights[(i + query) * kLanes + cell]), value, sums[query][j]);
        }
      }
      for (int query = 0; query < kQueries; ++query)
        for (int j = 0; j < vectors; ++j) Store(out(query, j), sums[query][j]);
    }
  }

  const ggml_compute_params* params_;
  ggml_tensor* dst_;
  const ggml_tensor *q_, *k_, *v_;
  float scale_ = 1;
  int heads_a_key_, key_vectors_, value_vectors_;
  Scratch& own_;
  int listed_ = 0;
};

}  // namespace evenkeel
#define EVENKEEL_CELL_ATTENTION 1
#endif
