// Data types, shapes and tensor views, as the Open Inference Protocol names them.
//
// Shapes are row-major with the batch axis first. BYTES elements are in the protocol's binary form: for each element a
// 4-byte little-endian length, then that many bytes.
// Thread-safety: values, thread-compatible.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <limits>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "core/status.h"

namespace evenkeel {

enum class DataType : uint8_t {
  kInvalid = 0,
  kBool,
  kUint8,
  kUint16,
  kUint32,
  kUint64,
  kInt8,
  kInt16,
  kInt32,
  kInt64,
  kFp16,
  kBf16,
  kFp32,
  kFp64,
  kBytes,
};
inline constexpr int kDataTypeCount = 15;

std::string_view NameOf(DataType type);            // "FP32"; "INVALID" for kInvalid
DataType DataTypeFromName(std::string_view name);  // kInvalid when unknown; case-sensitive
size_t ElementSize(DataType type);                 // bytes; 0 for kBytes and kInvalid

inline constexpr int kMaxRank = 8;
inline constexpr int64_t kDynamic = -1;  // in specs only: any size

// Up to kMaxRank dimensions, inline.
class Shape {
 public:
  Shape() = default;
  // REQUIRES: dims.size() <= kMaxRank (asserted).
  Shape(std::initializer_list<int64_t> dims) {
    for (int64_t d : dims) push_back(d);
  }
  explicit Shape(std::span<const int64_t> dims) {
    for (int64_t d : dims) push_back(d);
  }

  int rank() const { return rank_; }
  bool full() const { return rank_ == kMaxRank; }
  int64_t operator[](int i) const { return dims_[static_cast<size_t>(i)]; }
  int64_t& operator[](int i) { return dims_[static_cast<size_t>(i)]; }
  void push_back(int64_t d) {
    assert(rank_ < kMaxRank);
    dims_[rank_++] = d;
  }
  std::span<const int64_t> dims() const { return {dims_.data(), rank_}; }
  // The shape without its first axis. REQUIRES: rank() >= 1.
  Shape Tail() const { return Shape(dims().subspan(1)); }
  bool operator==(const Shape& o) const;
  std::string ToString() const;  // "[-1,64]"
  // Product of the dimensions; nullopt if one is negative or the product does not fit in int64.
  std::optional<int64_t> ElementCount() const;

 private:
  std::array<int64_t, kMaxRank> dims_{};
  uint8_t rank_ = 0;
};

// Bytes of a dense tensor. Errors: kInvalidArgument for negative or overflowing sizes, and for kBytes (has no fixed size).
Result<size_t> DenseBytes(DataType type, const Shape& shape);

// Inclusive bounds for integer ids.
struct IdRange {
  int64_t lo = std::numeric_limits<int64_t>::min();
  int64_t hi = std::numeric_limits<int64_t>::max();
};

// One input or output of a model.
struct TensorSpec {
  std::string name;
  DataType dtype = DataType::kInvalid;
  Shape shape;  // kDynamic where free; includes the batch axis when the model batches
  std::optional<IdRange>
      range;  // inputs: ids outside are refused (from the graph or the manifest's `range:`)
  std::vector<std::string> labels;  // outputs: class names, for the classification extension
};

// What a model takes and gives.
struct Signature {
  std::vector<TensorSpec> inputs;
  std::vector<TensorSpec> outputs;
  bool batched = false;  // axis 0 of every tensor is the batch axis
  int max_batch = 1;     // rows a batch may have at most; 1 when not batched

  // Index into inputs/outputs, or -1.
  int FindInput(std::string_view name) const;
  int FindOutput(std::string_view name) const;
};

// A tensor in somebody else's memory. `spec` indexes Signature::inputs or ::outputs.
struct TensorView {
  uint32_t spec = 0;
  DataType dtype = DataType::kInvalid;
  Shape shape;
  std::span<const std::byte> data;
};

// Bytes taken by the first `count` BYTES elements of `data`. Error kInvalidArgument when a length runs past the end.
Result<size_t> BytesElementsSize(std::span<const std::byte> data, int64_t count);

}  // namespace evenkeel
