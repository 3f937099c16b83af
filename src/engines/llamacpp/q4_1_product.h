// Products of Q4_1 weights with one or several columns, for processors without AMX: with AVX-512 VNNI, or with AVX2, FMA and F16C.
//
// ggml has such products of other quantisations (llamafile/sgemm.cpp); of this one it takes each row with each column by itself, and unpacks a
// row's nibbles anew for every column. Here a tile of eight rows and up to four columns shares what is unpacked. With AVX-512 two rows fill a
// register of 512 bits; with AVX2 each fills one of 256, and what does not fit into sixteen of them stays in the first cache.
// Contract: C (m x n, column by column) = A^T B for m rows of A and n columns of B, each of so many blocks of 32. Bit for bit what
//   ggml_vec_dot_q4_1_q8_1 gives for each pair (AVX2 and FMA): the same sums in the same order, so that an answer does not depend on how many run beside it.
// Compiled into ggml's sgemm.cpp by tools/patch_llamacpp.py; needs its block types. Thread-safety: each thread runs its part of the rows.
#pragma once

#if defined(__AVX512F__) && defined(__AVX512BW__) && defined(__AVX512DQ__) && \
    defined(__AVX512VL__) && defined(__AVX512VNNI__) && defined(__F16C__)
#define EVENKEEL_Q4_1_PRODUCT 512  // bits of a register
#elif defined(__AVX2__) && defined(__FMA__) && defined(__F16C__)
#define EVENKEEL_Q4_1_PRODUCT 256
#endif

#ifdef EVENKEEL_Q4_1_PRODUCT

#include <immintrin.h>

#include <algorithm>
#include <cstdint>
#include <cstring>

namespace evenkeel {

class Q41Product {
 public:
  // Strides in blocks and, of `out`, in floats.
  Q41Product(int64_t blocks, const block_q4_1* weights, int64_t weights_stride,
             const block_q8_1* columns, int64_t columns_stride, float* out, int64_t out_stride)
      : blocks_(blocks),
        weights_(weights),
        weights_stride_(weights_stride),
        columns_(columns),
        columns_stride_(columns_stride),
        out_(out),
        out_stride_(out_stride) {}

  // The part of thread `ith` of `nth`.
  void Run(int64_t rows, int64_t columns, int ith, int nth) const {
    const int64_t tiles = (rows + kRows - 1) / kRows;
    for (int64_t tile = tiles * ith / nth; tile < tiles * (ith + 1) / nth; ++tile) {
      const int64_t row = tile * kRows;
      const int count = static_cast<int>(std::min<int64_t>(kRows, rows - row));
      int64_t column = 0;
      for (; column + 4 <= columns; column += 4) Tile<4>(row, count, column);
      switch (columns - column) {
        case 3: Tile<3>(row, count, column); break;
        case 2: Tile<2>(row, count, column); break;
        case 1: Tile<1>(row, count, column); break;
        default: break;
      }
    }
  }

 private:
  static constexpr int kRows = 8;

  // Not inlined: in one function the widths take the registers for addresses from each other.
  template <int N>
  [[gnu::noinline]] void Tile(int64_t row, int count, int64_t column) const {
    const block_q4_1* weights[kRows];
    for (int i = 0; i < kRows; ++i)  // where rows end, the last one again
      weights[i] = weights_ + (row + std::min(i, count - 1)) * weights_stride_;
    const block_q8_1* columns[N];
    for (int j = 0; j < N; ++j) columns[j] = columns_ + (column + j) * columns_stride_;
    float all[N][kRows], rest[N][kRows];
    Multiply<N>(weights, columns, all, rest);
    for (int j = 0; j < N; ++j) {
      float* out = out_ + (column + j) * out_stride_ + row;
      for (int i = 0; i < count; ++i) out[i] = all[j][i] + rest[j][i];
    }
  }

  // `all` without what the rows' minima add, which is `rest`.
#if EVENKEEL_Q4_1_PRODUCT == 512
  // A register of a pair of rows has four lanes: low nibbles of the first, of the second, high nibbles of the first, of the second.
  template <int N>
  void Multiply(const block_q4_1* const (&weights)[kRows], const block_q8_1* const (&columns)[N],
                float (&all)[N][kRows], float (&rest)[N][kRows]) const {
    constexpr int kPairs = kRows / 2;
    __m512i spread[kPairs];
    for (int p = 0; p < kPairs; ++p) {
      const __m128i first = _mm_set1_epi32(2 * p), second = _mm_set1_epi32(2 * p + 1);
      const __m256i both = _mm256_inserti128_si256(_mm256_castsi128_si256(first), second, 1);
      spread[p] = _mm512_inserti64x4(_mm512_castsi256_si512(both), both, 1);
    }
    const __m256i nibble = _mm256_set1_epi8(15);
    __m512 sums[kPairs][N];
    __m256 least[N];  // of the rows' minima
    for (int j = 0; j < N; ++j) {
      least[j] = _mm256_setzero_ps();
      for (int p = 0; p < kPairs; ++p) sums[p][j] = _mm512_setzero_ps();
    }
    for (int64_t b = 0; b < blocks_; ++b) {
      alignas(32) int32_t scales[kRows];
      for (int i = 0; i < kRows; ++i) scales[i] = Halves(weights[i][b]);
      const __m256i both = _mm256_load_si256(reinterpret_cast<const __m256i*>(scales));
      const __m512 scale = _mm512_castps256_ps512(_mm256_cvtph_ps(_mm256_cvtepi32_epi16(both)));
      const __m256 minimum = _mm256_cvtph_ps(_mm256_cvtepi32_epi16(_mm256_srli_epi32(both, 16)));
      __m512i packed[kPairs];
      __m512 pair_scale[kPairs];
      for (int p = 0; p < kPairs; ++p) {
        const __m256i raw = _mm256_inserti128_si256(
            _mm256_castsi128_si256(Load(weights[2 * p][b].qs)), Load(weights[2 * p + 1][b].qs), 1);
        const __m256i low = _mm256_and_si256(raw, nibble);
        const __m256i high = _mm256_and_si256(_mm256_srli_epi16(raw, 4), nibble);
        packed[p] = _mm512_inserti64x4(_mm512_castsi256_si512(low), high, 1);
        pair_scale[p] = _mm512_permutexvar_ps(spread[p], scale);
      }
      for (int j = 0; j < N; ++j) {
        const __m128 own = _mm_cvtph_ps(_mm_cvtsi32_si128(Halves(columns[j][b])));
        const __m512 own_scale = _mm512_broadcastss_ps(own);
        least[j] = _mm256_fmadd_ps(minimum, _mm256_broadcastss_ps(_mm_movehdup_ps(own)), least[j]);
        const __m512i raw = _mm512_castsi256_si512(
            _mm256_loadu_si256(reinterpret_cast<const __m256i*>(columns[j][b].qs)));
        const __m512i numbers = _mm512_shuffle_i64x2(raw, raw, 0x50);  // each half twice
        for (int p = 0; p < kPairs; ++p) {
          const __m512 dot =
              _mm512_cvtepi32_ps(_mm512_dpbusd_epi32(_mm512_setzero_si512(), packed[p], numbers));
          sums[p][j] = _mm512_fmadd_ps(_mm512_mul_ps(pair_scale[p], own_scale), dot, sums[p][j]);
        }
      }
    }
    for (int j = 0; j < N; ++j) {
      _mm256_storeu_ps(rest[j], least[j]);
      for (int p = 0; p < kPairs; ++p) {
        all[j][2 * p] =
            Sum(_mm512_extractf32x4_ps(sums[p][j], 2), _mm512_castps512_ps128(sums[p][j]));
        all[j][2 * p + 1] =
            Sum(_mm512_extractf32x4_ps(sums[p][j], 3), _mm512_extractf32x4_ps(sums[p][j], 1));
      }
    }
  }
#else
  // A register has a row's low nibbles, then its high ones; or of each of four rows scale and minimum, side by side.
  template <int N>
  void Multiply(const block_q4_1* const (&weights)[kRows], const block_q8_1* const (&columns)[N],
                float (&all)[N][kRows], float (&rest)[N][kRows]) const {
    constexpr int kFours = kRows / 4;
    const __m256i nibble = _mm256_set1_epi8(15), halves = _mm256_setr_epi64x(0, 0, 4, 4);
    __m256 sums[kRows][N];
    __m256 least[kFours][N];  // of the rows' minima, beside sums of their scales that nobody needs
    for (int j = 0; j < N; ++j) {
      for (int f = 0; f < kFours; ++f) least[f][j] = _mm256_setzero_ps();
      for (int i = 0; i < kRows; ++i) sums[i][j] = _mm256_setzero_ps();
    }
    for (int64_t b = 0; b < blocks_; ++b) {
      alignas(32) float scales[N][2 * kRows];  // of a row and a column, at every other place
      for (int f = 0; f < kFours; ++f) {
        const __m256 four = _mm256_cvtph_ps(
            _mm_setr_epi32(Halves(weights[4 * f][b]), Halves(weights[4 * f + 1][b]),
                           Halves(weights[4 * f + 2][b]), Halves(weights[4 * f + 3][b])));
        for (int j = 0; j < N; ++j) {
          const __m256 own = _mm256_cvtph_ps(_mm_set1_epi32(Halves(columns[j][b])));
          _mm256_store_ps(scales[j] + 8 * f, _mm256_mul_ps(four, own));
          least[f][j] = _mm256_fmadd_ps(four, own, least[f][j]);
        }
      }
      for (int i = 0; i < kRows; ++i) {
        const __m256i raw = _mm256_broadcastsi128_si256(Load(weights[i][b].qs));
        const __m256i packed = _mm256_and_si256(_mm256_srlv_epi64(raw, halves), nibble);
        for (int j = 0; j < N; ++j) {
          const __m256i numbers =
              _mm256_loadu_si256(reinterpret_cast<const __m256i*>(columns[j][b].qs));
          const __m256 dot = _mm256_cvtepi32_ps(SumsOfFour(packed, numbers));
          sums[i][j] = _mm256_fmadd_ps(_mm256_set1_ps(scales[j][2 * i]), dot, sums[i][j]);
        }
      }
    }
    for (int j = 0; j < N; ++j) {
      for (int f = 0; f < kFours; ++f) {
        const __m128 high = _mm256_extractf128_ps(least[f][j], 1);
        const __m128 low = _mm256_castps256_ps128(least[f][j]);
        _mm_storeu_ps(rest[j] + 4 * f, _mm_shuffle_ps(low, high, 0xdd));  // every second one
      }
      for (int i = 0; i < kRows; ++i) {
        all[j][i] = Sum(_mm256_extractf128_ps(sums[i][j], 1), _mm256_castps256_ps128(sums[i][j]));
      }
    }
  }

  static __m256i SumsOfFour(__m256i nibbles, __m256i numbers) {
#ifdef __AVXVNNI__
    return _mm256_dpbusd_avx_epi32(_mm256_setzero_si256(), nibbles, numbers);
#else  // no pair of products exceeds 16 bits
    return _mm256_madd_epi16(_mm256_maddubs_epi16(nibbles, numbers), _mm256_set1_epi16(1));
#endif
  }
#endif

  // What a block begins with: scale and minimum, or scale and scale times the sum.
  template <typename Block>
  static int32_t Halves(const Block& block) {
    int32_t halves = 0;
    std::memcpy(&halves, &block, sizeof halves);
    return halves;
  }
  static __m128i Load(const uint8_t* nibbles) {
    return _mm_loadu_si128(reinterpret_cast<const __m128i*>(nibbles));
  }
  // As ggml adds eight numbers up.
  static float Sum(__m128 high, __m128 low) {
    __m128 sum = _mm_add_ps(high, low);
    sum = _mm_add_ps(sum, _mm_movehl_ps(sum, sum));
    return _mm_cvtss_f32(_mm_add_ss(sum, _mm_movehdup_ps(sum)));
  }

  const int64_t blocks_;
  const block_q4_1* const weights_;
  const int64_t weights_stride_;
  const block_q8_1* const columns_;
  const int64_t columns_stride_;
  float* const out_;
  const int64_t out_stride_;
};

}  // namespace evenkeel

#endif
