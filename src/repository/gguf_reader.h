// The structure of a GGUF file, read without its weights: what keys and tensors it says that there are, and where.
//
// Layout: "GGUF", version, number of tensors, number of keys; then each key with its typed value; then each tensor's name,
// dimensions, type and offset; then, at the next multiple of the alignment, the data. All little-endian.
// Use for: bytes that nobody vouches for. Not for: what keys and tensors mean (gguf_check.h).
// Contract: nothing is read past the file's end, and every count and length is held against what is left of the file before
//   anything is allocated or skipped for it. Values stay in the file; only names and positions are kept. Time and memory
//   follow the header, at most 256 MiB of it.
// Errors: kInvalidArgument; kUnsupported for versions other than 2 and 3; kTooLarge. They name the key or tensor.
// Thread-safety: thread-compatible.
#pragma once

#include <array>
#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "core/status.h"
#include "repository/byte_source.h"
#include "repository/gguf_types.h"

namespace evenkeel {

inline constexpr uint64_t kMaxGgufHeaderBytes = uint64_t{256} << 20;
inline constexpr uint64_t kMaxGgufKeys = 65'536;
inline constexpr uint64_t kMaxGgufTensors = 131'072;
inline constexpr uint64_t kMaxGgufKeyBytes = 1'024;
inline constexpr uint64_t kMaxGgufTensorName = 63;  // what ggml has room for
inline constexpr int kMaxGgufNesting = 4;           // arrays in arrays

struct GgufValue {
  GgufType type = GgufType::kUint8;
  GgufType item = GgufType::kUint8;  // of arrays
  uint64_t count = 1;                // items of an array; bytes of a string
  uint64_t at = 0;                   // of the number, the string's first byte, or the first item
};

struct GgufTensor {
  std::string name;
  std::array<uint64_t, 4> dims = {1, 1, 1, 1};  // the first is a row's length
  int rank = 0;                                 // 1 to 4
  uint32_t type = 0;                            // see GgmlTypeOf(); may be unknown
  uint64_t offset = 0;                          // bytes, from where the data begin
};

struct GgufHeader {
  uint32_t version = 0;
  std::map<std::string, GgufValue, std::less<>> values;  // by key
  std::vector<GgufTensor> tensors;                       // as in the file
  uint64_t end = 0;  // the first byte after the table of tensors
};

Result<GgufHeader> ReadGgufHeader(ByteSource& source);

}  // namespace evenkeel
