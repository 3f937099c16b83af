#include "engines/fake/elements.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <limits>

#include "core/check.h"

namespace evenkeel {
namespace {

template <typename T>
double LoadAs(const std::byte* at) {
  T value;
  std::memcpy(&value, at, sizeof value);
  return static_cast<double>(value);
}

template <typename T>
void StoreAs(double value, std::byte* at) {
  T out;
  if constexpr (std::is_integral_v<T>) {
    constexpr double lo = static_cast<double>(std::numeric_limits<T>::min());
    constexpr double hi = static_cast<double>(std::numeric_limits<T>::max());
    if (std::isnan(value)) value = 0;
    out = value >= hi   ? std::numeric_limits<T>::max()
          : value <= lo ? std::numeric_limits<T>::min()
                        : static_cast<T>(value);
  } else {
    out = static_cast<T>(value);
  }
  std::memcpy(at, &out, sizeof out);
}

double HalfToDouble(uint16_t bits) {
  const int exponent = (bits >> 10) & 0x1f;
  const int mantissa = bits & 0x3ff;
  double value;
  if (exponent == 31) {
    value = mantissa == 0 ? HUGE_VAL : std::nan("");
  } else if (exponent == 0) {
    value = std::ldexp(mantissa, -24);
  } else {
    value = std::ldexp(mantissa + 1024, exponent - 25);
  }
  return (bits & 0x8000) != 0 ? -value : value;
}

uint16_t DoubleToHalf(double value) {
  const uint16_t sign = std::signbit(value) ? 0x8000 : 0;
  if (std::isnan(value)) return 0x7e00;
  const double magnitude = std::fabs(value);
  if (magnitude >= 65520) return static_cast<uint16_t>(sign | 0x7c00);
  int exponent = 0;
  std::frexp(magnitude, &exponent);
  // The step between neighbours is 2^(exponent - 11), and never below 2^-24.
  const int step = magnitude == 0 ? -24 : std::max(exponent - 11, -24);
  const double units = std::nearbyint(std::ldexp(magnitude, -step));
  // Each step of the exponent adds 1024 units: normal numbers continue the subnormals' count.
  return static_cast<uint16_t>(sign | static_cast<uint16_t>(units + (step + 24) * 1024.0));
}

}  // namespace

double LoadElement(DataType type, const std::byte* at) {
  switch (type) {
    case DataType::kBool:
    case DataType::kUint8: return LoadAs<uint8_t>(at);
    case DataType::kUint16: return LoadAs<uint16_t>(at);
    case DataType::kUint32: return LoadAs<uint32_t>(at);
    case DataType::kUint64: return LoadAs<uint64_t>(at);
    case DataType::kInt8: return LoadAs<int8_t>(at);
    case DataType::kInt16: return LoadAs<int16_t>(at);
    case DataType::kInt32: return LoadAs<int32_t>(at);
    case DataType::kInt64: return LoadAs<int64_t>(at);
    case DataType::kFp32: return LoadAs<float>(at);
    case DataType::kFp64: return LoadAs<double>(at);
    case DataType::kFp16: {
      uint16_t bits;
      std::memcpy(&bits, at, sizeof bits);
      return HalfToDouble(bits);
    }
    case DataType::kBf16: {
      uint16_t bits;
      std::memcpy(&bits, at, sizeof bits);
      return std::bit_cast<float>(static_cast<uint32_t>(bits) << 16);
    }
    case DataType::kBytes:
    case DataType::kInvalid: break;
  }
  EK_CHECK(false);
}

void StoreElement(DataType type, double value, std::byte* at) {
  switch (type) {
    case DataType::kBool: return StoreAs<uint8_t>(value != 0, at);
    case DataType::kUint8: return StoreAs<uint8_t>(value, at);
    case DataType::kUint16: return StoreAs<uint16_t>(value, at);
    case DataType::kUint32: return StoreAs<uint32_t>(value, at);
    case DataType::kUint64: return StoreAs<uint64_t>(value, at);
    case DataType::kInt8: return StoreAs<int8_t>(value, at);
    case DataType::kInt16: return StoreAs<int16_t>(value, at);
    case DataType::kInt32: return StoreAs<int32_t>(value, at);
    case DataType::kInt64: return StoreAs<int64_t>(value, at);
    case DataType::kFp32: return StoreAs<float>(value, at);
    case DataType::kFp64: return StoreAs<double>(value, at);
    case DataType::kFp16: {
      const uint16_t bits = DoubleToHalf(value);
      std::memcpy(at, &bits, sizeof bits);
      return;
    }
    case DataType::kBf16: {
      const auto bits = std::bit_cast<uint32_t>(static_cast<float>(value));
      // Round to nearest even on the 16 bits that go.
      const auto top = static_cast<uint16_t>((bits + 0x7fff + ((bits >> 16) & 1)) >> 16);
      std::memcpy(at, &top, sizeof top);
      return;
    }
    case DataType::kBytes:
    case DataType::kInvalid: break;
  }
  EK_CHECK(false);
}

}  // namespace evenkeel
