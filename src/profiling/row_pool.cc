#include "profiling/row_pool.h"

#include <algorithm>
#include <cstring>
#include <random>

#include "core/format.h"
#include "profiling/sample_file.h"

namespace evenkeel {
namespace {

constexpr size_t kAlign = 64;
constexpr size_t kMaxRowBytes = size_t{256} << 20;
constexpr size_t kMaxPoolBytes = size_t{64} << 20;
constexpr uint32_t kTextLength = 16;

size_t Aligned(size_t bytes) { return (bytes + kAlign - 1) / kAlign * kAlign; }

// The shape of one row; free dimensions stay free.
Shape RowShape(const TensorSpec& spec, bool batched) {
  return batched ? spec.shape.Tail() : spec.shape;
}

bool Compatible(const Shape& declared, const Shape& actual) {
  if (declared.rank() != actual.rank()) return false;
  for (int d = 0; d < declared.rank(); ++d) {
    if (declared[d] != kDynamic && declared[d] != actual[d]) return false;
  }
  return true;
}

template <typename T>
void Put(std::vector<std::byte>* out, T value) {
  const auto* raw = reinterpret_cast<const std::byte*>(&value);
  out->insert(out->end(), raw, raw + sizeof value);
}

class Maker {
 public:
  explicit Maker(uint64_t seed) : random_(seed) {}

  void Element(const TensorSpec& spec, std::vector<std::byte>* out) {
    switch (spec.dtype) {
      case DataType::kBool: return Put<uint8_t>(out, static_cast<uint8_t>(random_() & 1));
      case DataType::kUint8: return Put(out, static_cast<uint8_t>(Id(spec, 0, 255)));
      case DataType::kUint16: return Put(out, static_cast<uint16_t>(Id(spec, 0, 65535)));
      case DataType::kUint32: return Put(out, static_cast<uint32_t>(Id(spec, 0, UINT32_MAX)));
      case DataType::kUint64: return Put(out, static_cast<uint64_t>(Id(spec, 0, INT64_MAX)));
      case DataType::kInt8: return Put(out, static_cast<int8_t>(Id(spec, -128, 127)));
      case DataType::kInt16: return Put(out, static_cast<int16_t>(Id(spec, -32768, 32767)));
      case DataType::kInt32: return Put(out, static_cast<int32_t>(Id(spec, INT32_MIN, INT32_MAX)));
      case DataType::kInt64: return Put(out, Id(spec, INT64_MIN, INT64_MAX));
      case DataType::kFp32: return Put(out, static_cast<float>(Unit()));
      case DataType::kFp64: return Put(out, Unit());
      case DataType::kFp16: return Put(out, Half());
      case DataType::kBf16: {
        const auto value = static_cast<float>(Unit());
        uint32_t bits = 0;
        std::memcpy(&bits, &value, sizeof bits);
        return Put(out, static_cast<uint16_t>(bits >> 16));
      }
      case DataType::kBytes:
        Put(out, kTextLength);
        for (uint32_t i = 0; i < kTextLength; ++i)
          Put(out, static_cast<char>('a' + static_cast<int>(random_() % 26)));
        return;
      case DataType::kInvalid: return;
    }
  }

 private:
  double Unit() { return std::uniform_real_distribution<double>(0, 1)(random_); }
  // A multiple of 1/1024 below 1 has a short half: exponent and mantissa are found by scaling.
  uint16_t Half() {
    uint32_t mantissa = static_cast<uint32_t>(random_() % 1024);
    if (mantissa == 0) return 0;
    uint32_t exponent = 15;
    while (mantissa < 1024) {
      mantissa <<= 1;
      --exponent;
    }
    return static_cast<uint16_t>((exponent << 10) | (mantissa & 1023));
  }
  int64_t Id(const TensorSpec& spec, int64_t type_lo, int64_t type_hi) {
    int64_t lo = 0, hi = 1;
    if (spec.range) {
      lo = std::max(spec.range->lo, type_lo);
      hi = std::min(spec.range->hi, type_hi);
    }
    return std::uniform_int_distribution<int64_t>(lo, std::max(lo, hi))(random_);
  }

  std::mt19937_64 random_;
};

bool ZerosAreRows(const Signature& signature) {
  return std::ranges::all_of(signature.inputs, [](const TensorSpec& spec) {
    return spec.dtype != DataType::kBytes && (!spec.range || spec.range->lo <= 0);
  });
}

}  // namespace

Result<RowPool> RowPool::FromSamples(const Signature& signature, const SampleSet& samples) {
  RowPool pool;
  pool.batched_ = signature.batched;
  pool.zeros_are_rows_ = ZerosAreRows(signature);
  const auto bad = [&](std::string_view why) {
    return InvalidArgument("the samples ({}) do not fit the model's inputs ({}): {}",
                           SignatureText(samples.inputs), SignatureText(signature.inputs), why);
  };
  if (samples.batched != signature.batched) return bad("one has a batch axis, the other has not");
  if (samples.inputs.size() != signature.inputs.size()) return bad("another number of inputs");
  if (samples.rows.empty()) return bad("there are no rows");
  std::vector<size_t> order;
  for (const TensorSpec& spec : signature.inputs) {
    const auto at = std::ranges::find(samples.inputs, spec.name, &TensorSpec::name);
    if (at == samples.inputs.end()) return bad("an input is missing");
    if (at->dtype != spec.dtype || !Compatible(RowShape(spec, signature.batched), at->shape))
      return bad("type or shape differ");
    order.push_back(static_cast<size_t>(at - samples.inputs.begin()));
    pool.dtypes_.push_back(spec.dtype);
    pool.shapes_.push_back(at->shape);
  }
  for (const auto& sample : samples.rows) {
    Row row;
    for (const size_t i : order) row.push_back(sample->inputs[i]);
    pool.rows_.push_back(std::move(row));
  }
  return pool;
}

Result<RowPool> RowPool::FromSignature(const Signature& signature, size_t rows, uint64_t seed) {
  RowPool pool;
  pool.batched_ = signature.batched;
  pool.zeros_are_rows_ = ZerosAreRows(signature);
  size_t row_bytes = 0;
  for (const TensorSpec& spec : signature.inputs) {
    Shape shape = RowShape(spec, signature.batched);
    for (int d = 0; d < shape.rank(); ++d) {
      if (shape[d] == kDynamic) shape[d] = 1;
    }
    const size_t element =
        spec.dtype == DataType::kBytes ? sizeof kTextLength + kTextLength : ElementSize(spec.dtype);
    const auto count = shape.ElementCount();
    size_t bytes = 0;
    if (!count || __builtin_mul_overflow(static_cast<size_t>(*count), element, &bytes) ||
        __builtin_add_overflow(row_bytes, bytes, &row_bytes) || row_bytes > kMaxRowBytes) {
      return TooLarge("input '{}': a row is larger than {} MiB", spec.name, kMaxRowBytes >> 20);
    }
    pool.dtypes_.push_back(spec.dtype);
    pool.shapes_.push_back(shape);
  }
  rows = std::max<size_t>(1, std::min(rows, kMaxPoolBytes / std::max<size_t>(row_bytes, 1)));
  Maker maker(seed);
  for (size_t r = 0; r < rows; ++r) {
    Row row;
    for (size_t i = 0; i < signature.inputs.size(); ++i) {
      const int64_t count = *pool.shapes_[i].ElementCount();
      auto& bytes = row.emplace_back();
      for (int64_t e = 0; e < count; ++e) maker.Element(signature.inputs[i], &bytes);
    }
    pool.rows_.push_back(std::move(row));
  }
  return pool;
}

size_t RowPool::BytesOf(int rows) const {
  size_t bytes = 0;
  for (size_t i = 0; i < dtypes_.size(); ++i) {
    size_t largest = 0;
    for (const Row& row : rows_) largest = std::max(largest, row[i].size());
    bytes += Aligned(largest * static_cast<size_t>(rows));
  }
  return bytes;
}

Result<std::vector<TensorView>> RowPool::Fill(size_t first, int rows,
                                              std::span<std::byte> arena) const {
  std::vector<TensorView> views;
  size_t at = 0;
  for (size_t i = 0; i < dtypes_.size(); ++i) {
    const size_t start = at = Aligned(at);
    for (int r = 0; r < rows; ++r) {
      const auto& bytes = rows_[(first + static_cast<size_t>(r)) % rows_.size()][i];
      if (at > arena.size() || arena.size() - at < bytes.size())
        return TooLarge("a batch of {} rows does not fit into {} bytes", rows, arena.size());
      if (!bytes.empty()) std::memcpy(arena.data() + at, bytes.data(), bytes.size());
      at += bytes.size();
    }
    views.push_back(ViewOf(i, rows, arena.subspan(start, at - start)));
  }
  return views;
}

TensorView RowPool::ViewOf(size_t input, int rows, std::span<std::byte> data) const {
  TensorView view;
  view.spec = static_cast<uint32_t>(input);
  view.dtype = dtypes_[input];
  if (batched_) view.shape.push_back(rows);
  for (const int64_t d : shapes_[input].dims()) view.shape.push_back(d);
  view.data = data;
  return view;
}

std::optional<std::vector<TensorView>> RowPool::Blank(int rows, std::span<std::byte> arena,
                                                      size_t used) const {
  if (!zeros_are_rows_) return std::nullopt;
  std::vector<TensorView> views;
  size_t at = 0;
  for (size_t i = 0; i < dtypes_.size(); ++i) {
    at = Aligned(at);
    const size_t bytes = rows_.front()[i].size() * static_cast<size_t>(rows);
    if (at > arena.size() || arena.size() - at < bytes) return std::nullopt;
    views.push_back(ViewOf(i, rows, arena.subspan(at, bytes)));
    at += bytes;
  }
  std::memset(arena.data(), 0, std::min(used, at));
  return views;
}

}  // namespace evenkeel
