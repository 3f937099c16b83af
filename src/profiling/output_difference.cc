#include "profiling/output_difference.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>

#include "core/half.h"

namespace evenkeel {
namespace {

template <typename T>
T Load(std::span<const std::byte> data, size_t index) {
  T value;
  std::memcpy(&value, data.data() + index * sizeof value, sizeof value);
  return value;
}

// REQUIRES: numbers of a size.
double Element(const TensorView& view, size_t i) {
  switch (view.dtype) {
    case DataType::kFp64: return Load<double>(view.data, i);
    case DataType::kFp32: return Load<float>(view.data, i);
    case DataType::kFp16: return FloatFromFp16(Load<uint16_t>(view.data, i));
    case DataType::kBf16: return FloatFromBf16(Load<uint16_t>(view.data, i));
    case DataType::kInt8: return Load<int8_t>(view.data, i);
    case DataType::kInt16: return Load<int16_t>(view.data, i);
    case DataType::kInt32: return Load<int32_t>(view.data, i);
    case DataType::kInt64: return static_cast<double>(Load<int64_t>(view.data, i));
    case DataType::kUint16: return Load<uint16_t>(view.data, i);
    case DataType::kUint32: return Load<uint32_t>(view.data, i);
    case DataType::kUint64: return static_cast<double>(Load<uint64_t>(view.data, i));
    default: return Load<uint8_t>(view.data, i);
  }
}

double Distance(double a, double b) {
  if (std::isnan(a) && std::isnan(b)) return 0;
  if (a == b) return 0;  // infinities of one sign, too
  const double distance = std::fabs(a - b);
  return std::isnan(distance) ? std::numeric_limits<double>::infinity() : distance;
}

}  // namespace

std::vector<double> Elements(std::span<const TensorView> outputs) {
  std::vector<double> all;
  for (const TensorView& view : outputs) {
    if (ElementSize(view.dtype) == 0) continue;
    const size_t count = view.data.size() / ElementSize(view.dtype);
    for (size_t i = 0; i < count; ++i) all.push_back(Element(view, i));
  }
  return all;
}

OutputDifference Compare(const std::vector<std::vector<double>>& a,
                         const std::vector<std::vector<double>>& b) {
  constexpr double kInfinite = std::numeric_limits<double>::infinity();
  OutputDifference difference{0, 0};
  if (a.size() != b.size()) return {kInfinite, kInfinite};
  double sum = 0;
  size_t count = 0;
  for (size_t run = 0; run < a.size(); ++run) {
    if (a[run].size() != b[run].size()) return {kInfinite, kInfinite};
    for (size_t i = 0; i < a[run].size(); ++i) {
      const double distance = Distance(a[run][i], b[run][i]);
      difference.largest = std::max(difference.largest, distance);
      sum += distance;
      ++count;
    }
  }
  if (count == 0) return {};
  difference.mean = sum / static_cast<double>(count);
  return difference;
}

}  // namespace evenkeel
