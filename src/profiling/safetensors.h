// The safetensors file format: named dense tensors and text metadata.
//
// Layout: header length (u64, little-endian), header (JSON), data. Our writer pads the header with
//   blanks to a multiple of 8 and sorts tensors by element size, so that every tensor is aligned to
//   its elements.
// Contract: the reader is strict: it accepts only files whose tensors fill the data exactly,
//   without overlap or gap. Nothing is copied: decoded tensors point into the file's bytes.
// Thread-safety: thread-safe.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "core/status.h"
#include "core/tensor.h"

namespace evenkeel {

struct SafeTensor {
  std::string name;                     // any UTF-8 but "__metadata__"
  DataType dtype = DataType::kInvalid;  // any but kBytes
  std::vector<uint64_t> shape;          // empty: a scalar
  std::span<const std::byte> data;      // product(shape) elements
};

struct SafeTensors {
  std::map<std::string, std::string> metadata;
  std::vector<SafeTensor> tensors;                      // as the data lies
  const SafeTensor* Find(std::string_view name) const;  // null when there is none
};

inline constexpr size_t kMaxSafetensorsHeader = 16u << 20;

// Errors: kInvalidArgument (a name twice, no UTF-8, data that does not follow from dtype and shape,
// kBytes).
Result<std::string> EncodeSafetensors(const SafeTensors& content);

// Errors: kInvalidArgument saying what is wrong; no input makes it allocate more than a few times
// the header.
Result<SafeTensors> DecodeSafetensors(std::span<const std::byte> file);

}  // namespace evenkeel
