// Reads ModelInferRequest from protobuf's wire format straight out of a message's slices, without
// protobuf and without copying tensors.
//
// Contract: ReadInferRequest() accepts exactly what protobuf's own parser accepts (unknown fields
// skipped, last value wins,
//   packed and unpacked repeated fields, strings must be UTF-8), but for the limits below. What it
//   returns points into the slices, or, where a field crosses slices, into the arena: both must
//   outlive it. Memory taken is bounded by the message's size.
// Errors: kInvalidArgument for bytes that are no such message; kTooLarge past the limits.
// Units: sizes are bytes.
// Thread-safety: thread-compatible.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string_view>
#include <vector>

#include "core/status.h"
#include "core/tensor.h"

namespace evenkeel {

using ByteSpan = std::span<const std::byte>;

// Bounds on what small messages may make us allocate.
inline constexpr size_t kMaxWireTensors = 1024;     // inputs, requested outputs, raw contents, each
inline constexpr size_t kMaxWireParameters = 1024;  // of a whole request
inline constexpr size_t kMaxWireContents = 16;      // occurrences of `contents` in one input

// Memory of one call, freed as a whole. Blocks are aligned for every scalar.
class CallArena {
 public:
  std::span<std::byte> Allocate(size_t bytes);
  void Clear() { blocks_.clear(); }

 private:
  std::vector<std::unique_ptr<std::byte[]>> blocks_;
};

// inference.InferParameter under its key.
struct WireParameter {
  enum class Kind : uint8_t { kNone, kBool, kInt64, kString, kDouble, kUint64 };
  std::string_view key;
  Kind kind = Kind::kNone;
  int64_t number = 0;  // kBool (0 or 1), kInt64, kUint64 (as its bits)
  double real = 0;     // kDouble
  std::string_view text;
};

// A place in the slices, to come back to.
struct WireMark {
  size_t slice = 0;
  const std::byte* at = nullptr;
  size_t size = 0;
};

struct WireTensor {
  std::string_view name;
  std::string_view datatype;  // empty for requested outputs
  Shape shape;                // the first kMaxRank dimensions
  size_t rank = 0;            // as sent, may be more
  std::vector<WireParameter> parameters;
  std::vector<WireMark> contents;  // unread typed contents; see DecodeContents()
};

struct WireInferRequest {
  std::string_view model_name, model_version, id;
  std::vector<WireParameter> parameters;
  std::vector<WireTensor> inputs;
  std::vector<WireTensor> outputs;
  std::vector<ByteSpan> raw;

  // Empties it, keeping what it has allocated.
  void Clear();
};

Status ReadInferRequest(std::span<const ByteSpan> slices, CallArena& arena,
                        WireInferRequest* request);

// The last value under `key`, or null.
const WireParameter* FindParameter(std::span<const WireParameter> parameters, std::string_view key);

// The elements of an input's typed contents as a dense tensor (BYTES in the protocol's binary
// form), in the arena. `slices` are those that the input was read from. Takes memory for the
// elements that are there, whatever the shape says. Errors: kInvalidArgument for malformed bytes,
// elements in a field of another type, values outside the data type, and for FP16 and BF16, which
// have no typed form. Messages name the input.
Result<ByteSpan> DecodeContents(std::span<const ByteSpan> slices, const WireTensor& input,
                                DataType type, CallArena& arena);

}  // namespace evenkeel
