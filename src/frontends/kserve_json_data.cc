#include "frontends/kserve_json_data.h"

#include <cmath>
#include <cstring>
#include <limits>
#include <type_traits>

#include "core/format.h"

namespace evenkeel {
namespace {

using simdjson::dom::array;
using simdjson::dom::element;
using simdjson::dom::element_type;

std::string_view NameOf(element_type type) {
  switch (type) {
    case element_type::ARRAY: return "an array";
    case element_type::OBJECT: return "an object";
    case element_type::STRING: return "a string";
    case element_type::BOOL: return "a boolean";
    case element_type::NULL_VALUE: return "null";
    case element_type::DOUBLE: return "a number with a fraction or exponent";
    default: return "an integer";
  }
}

// False: the value does not fit T.
template <typename T>
bool Convert(const element& e, T* out) {
  switch (e.type()) {
    case element_type::INT64: {
      const int64_t v = e.get_int64().value_unsafe();
      if constexpr (std::is_integral_v<T>) {
        if (!std::in_range<T>(v)) return false;
      }
      *out = static_cast<T>(v);
      return true;
    }
    case element_type::UINT64: {
      const uint64_t v = e.get_uint64().value_unsafe();
      if constexpr (std::is_integral_v<T>) {
        if (!std::in_range<T>(v)) return false;
      }
      *out = static_cast<T>(v);
      return true;
    }
    case element_type::DOUBLE:
      if constexpr (std::is_floating_point_v<T>) {
        *out = static_cast<T>(e.get_double().value_unsafe());
        return std::isfinite(*out);
      }
      return false;
    default: return false;
  }
}

// Writes leaves of one type one after the other.
template <typename T>
class NumberSink {
 public:
  NumberSink(DataType type, std::byte* out) : type_(type), out_(out) {}
  Status Put(const element& e) {
    T value{};
    if (!Convert<T>(e, &value)) {
      return InvalidArgument("data element {}: {} does not fit {}", count_, Describe(e),
                             evenkeel::NameOf(type_));
    }
    std::memcpy(out_ + count_++ * sizeof(T), &value, sizeof(T));
    return {};
  }

 private:
  static std::string Describe(const element& e) {
    if (e.is_int64() || e.is_uint64() || e.is_double()) return simdjson::minify(e);
    return std::string(NameOf(e.type()));
  }
  const DataType type_;
  std::byte* const out_;
  size_t count_ = 0;
};

class BoolSink {
 public:
  explicit BoolSink(std::byte* out) : out_(out) {}
  Status Put(const element& e) {
    bool value = false;
    if (e.get_bool().get(value) != simdjson::SUCCESS) {
      return InvalidArgument("data element {}: expected true or false, got {}", count_,
                             NameOf(e.type()));
    }
    out_[count_++] = static_cast<std::byte>(value);
    return {};
  }

 private:
  std::byte* const out_;
  size_t count_ = 0;
};

// First measures, then writes: strings have no fixed size.
class StringSink {
 public:
  explicit StringSink(std::byte* out) : out_(out) {}
  Status Put(const element& e) {
    std::string_view text;
    if (e.get_string().get(text) != simdjson::SUCCESS) {
      return InvalidArgument("data element {}: expected a string, got {}", count_,
                             NameOf(e.type()));
    }
    ++count_;
    if (text.size() > std::numeric_limits<uint32_t>::max())
      return InvalidArgument("data element {} is too long", count_);
    if (out_ != nullptr) {
      const auto length = static_cast<uint32_t>(text.size());
      std::memcpy(out_ + size_, &length, sizeof length);
      std::memcpy(out_ + size_ + sizeof length, text.data(), text.size());
    }
    size_ += sizeof(uint32_t) + text.size();
    return {};
  }
  size_t size() const { return size_; }

 private:
  std::byte* const out_;
  size_t count_ = 0;
  size_t size_ = 0;
};

// Visits the leaves of `data`, whose nesting is exactly `dims`.
template <typename Sink>
Status Walk(const array& data, std::span<const int64_t> dims, Sink& sink) {
  int64_t count = 0;
  for (const element e : data) {
    if (++count > dims[0]) break;
    if (dims.size() == 1) {
      EK_RETURN_IF_ERROR(sink.Put(e));
      continue;
    }
    array inner;
    if (e.get_array().get(inner) != simdjson::SUCCESS) {
      return InvalidArgument("data is nested unevenly: expected an array, got {}",
                             NameOf(e.type()));
    }
    EK_RETURN_IF_ERROR(Walk(inner, dims.subspan(1), sink));
  }
  if (count != dims[0]) {
    return InvalidArgument(
        "data does not match the shape: expected {} elements in an array, got {}", dims[0],
        count > dims[0] ? "more" : std::to_string(count));
  }
  return {};
}

template <typename Sink>
Status WalkAll(const array& data, const Shape& shape, int64_t count, Sink& sink) {
  bool nested = false;
  for (const element e : data) {
    nested = e.is_array();
    break;
  }
  if (nested) {
    if (shape.rank() == 0) return InvalidArgument("data is nested, but the shape is []");
    return Walk(data, shape.dims(), sink);
  }
  return Walk(data, std::span<const int64_t>(&count, 1), sink);
}

template <typename T>
Status ReadNumbers(const array& data, DataType type, const Shape& shape, int64_t count,
                   std::byte* out) {
  NumberSink<T> sink(type, out);
  return WalkAll(data, shape, count, sink);
}

Status ReadDense(const array& data, DataType type, const Shape& shape, int64_t count,
                 std::byte* out) {
  switch (type) {
    case DataType::kBool: {
      BoolSink sink(out);
      return WalkAll(data, shape, count, sink);
    }
    case DataType::kUint8: return ReadNumbers<uint8_t>(data, type, shape, count, out);
    case DataType::kUint16: return ReadNumbers<uint16_t>(data, type, shape, count, out);
    case DataType::kUint32: return ReadNumbers<uint32_t>(data, type, shape, count, out);
    case DataType::kUint64: return ReadNumbers<uint64_t>(data, type, shape, count, out);
    case DataType::kInt8: return ReadNumbers<int8_t>(data, type, shape, count, out);
    case DataType::kInt16: return ReadNumbers<int16_t>(data, type, shape, count, out);
    case DataType::kInt32: return ReadNumbers<int32_t>(data, type, shape, count, out);
    case DataType::kInt64: return ReadNumbers<int64_t>(data, type, shape, count, out);
    case DataType::kFp32: return ReadNumbers<float>(data, type, shape, count, out);
    case DataType::kFp64: return ReadNumbers<double>(data, type, shape, count, out);
    default: return InvalidArgument("{} data must be sent in binary form", evenkeel::NameOf(type));
  }
}

// Leaves in `data`, but no deeper than the shape goes.
int64_t CountLeaves(const array& data, int depth) {
  int64_t leaves = 0;
  for (const element e : data) {
    array inner;
    if (depth > 1 && e.get_array().get(inner) == simdjson::SUCCESS) {
      leaves += CountLeaves(inner, depth - 1);
    } else {
      ++leaves;
    }
  }
  return leaves;
}

}  // namespace

Result<std::span<const std::byte>> ReadJsonData(const array& data, DataType type,
                                                const Shape& shape,
                                                std::unique_ptr<std::byte[]>* storage) {
  const auto count = shape.ElementCount();
  if (!count) return InvalidArgument("shape {} is negative or too large", shape.ToString());
  if (type == DataType::kFp16 || type == DataType::kBf16) {
    return InvalidArgument("{} data must be sent in binary form", evenkeel::NameOf(type));
  }
  // Before anything is allocated for a shape that only claims to be large.
  const int64_t leaves = CountLeaves(data, shape.rank());
  if (leaves != *count) {
    return InvalidArgument("shape {} has {} elements, the data has {}", shape.ToString(), *count,
                           leaves);
  }
  size_t bytes = 0;
  if (type == DataType::kBytes) {
    StringSink measure(nullptr);
    EK_RETURN_IF_ERROR(WalkAll(data, shape, *count, measure));
    bytes = measure.size();
  } else {
    const Result<size_t> dense = DenseBytes(type, shape);
    if (!dense.ok()) return dense.status();
    bytes = *dense;
  }
  *storage = std::make_unique_for_overwrite<std::byte[]>(bytes);
  if (type == DataType::kBytes) {
    StringSink sink(storage->get());
    EK_RETURN_IF_ERROR(WalkAll(data, shape, *count, sink));
  } else {
    EK_RETURN_IF_ERROR(ReadDense(data, type, shape, *count, storage->get()));
  }
  return std::span<const std::byte>(storage->get(), bytes);
}

}  // namespace evenkeel
