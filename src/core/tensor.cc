#include "core/tensor.h"

#include <algorithm>
#include <cstring>

#include "core/format.h"

namespace evenkeel {
namespace {

struct TypeRow {
  std::string_view name;
  size_t size;
};
constexpr std::array<TypeRow, kDataTypeCount> kTypes = {{
    {"INVALID", 0},
    {"BOOL", 1},
    {"UINT8", 1},
    {"UINT16", 2},
    {"UINT32", 4},
    {"UINT64", 8},
    {"INT8", 1},
    {"INT16", 2},
    {"INT32", 4},
    {"INT64", 8},
    {"FP16", 2},
    {"BF16", 2},
    {"FP32", 4},
    {"FP64", 8},
    {"BYTES", 0},
}};

}  // namespace

std::string_view NameOf(DataType type) { return kTypes.at(static_cast<size_t>(type)).name; }

DataType DataTypeFromName(std::string_view name) {
  for (size_t i = 1; i < kTypes.size(); ++i) {
    if (kTypes[i].name == name) return static_cast<DataType>(i);
  }
  return DataType::kInvalid;
}

size_t ElementSize(DataType type) { return kTypes.at(static_cast<size_t>(type)).size; }

bool Shape::operator==(const Shape& o) const { return std::ranges::equal(dims(), o.dims()); }

std::string Shape::ToString() const {
  std::string text = "[";
  for (int i = 0; i < rank(); ++i) {
    if (i > 0) text += ',';
    text += std::to_string((*this)[i]);
  }
  return text + "]";
}

std::optional<int64_t> Shape::ElementCount() const {
  int64_t count = 1;
  bool overflow = false;
  bool zero = false;
  for (int64_t d : dims()) {
    if (d < 0) return std::nullopt;
    if (d == 0) zero = true;
    // A zero further on must not hide an overflow before it: sizes are checked as written.
    if (d != 0 && __builtin_mul_overflow(count, d, &count)) overflow = true;
  }
  if (overflow) return std::nullopt;
  return zero ? 0 : count;
}

Result<size_t> DenseBytes(DataType type, const Shape& shape) {
  const size_t element = ElementSize(type);
  if (element == 0) return InvalidArgument("{} has no fixed element size", NameOf(type));
  const auto count = shape.ElementCount();
  size_t bytes = 0;
  if (!count || __builtin_mul_overflow(static_cast<size_t>(*count), element, &bytes)) {
    return InvalidArgument("shape {} is negative or too large", shape.ToString());
  }
  return bytes;
}

int Signature::FindInput(std::string_view name) const {
  for (size_t i = 0; i < inputs.size(); ++i) {
    if (inputs[i].name == name) return static_cast<int>(i);
  }
  return -1;
}

int Signature::FindOutput(std::string_view name) const {
  for (size_t i = 0; i < outputs.size(); ++i) {
    if (outputs[i].name == name) return static_cast<int>(i);
  }
  return -1;
}

Result<size_t> BytesElementsSize(std::span<const std::byte> data, int64_t count) {
  size_t at = 0;
  for (int64_t i = 0; i < count; ++i) {
    uint32_t length = 0;
    if (data.size() - at < sizeof length) {
      return InvalidArgument("expected {} BYTES elements, the data ends in element {}", count, i);
    }
    std::memcpy(&length, data.data() + at, sizeof length);
    at += sizeof length;
    if (data.size() - at < length) {
      return InvalidArgument("BYTES element {} says {} bytes, {} are left", i, length,
                             data.size() - at);
    }
    at += length;
  }
  return at;
}

}  // namespace evenkeel
