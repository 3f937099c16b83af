#include "frontends/classification.h"

#include <algorithm>
#include <cstring>
#include <numeric>
#include <vector>

#include "core/format.h"
#include "core/half.h"

namespace evenkeel {
namespace {

template <typename T>
T Load(const std::byte* at) {
  T value;
  std::memcpy(&value, at, sizeof value);
  return value;
}

struct Top {
  const TensorSpec& spec;
  size_t classes;  // of a row
  size_t k;
  std::string& out;

  // Appends the row's k best. `read(i)` gives the i-th value, `print` its text.
  template <typename Read, typename Print>
  void Row(Read read, Print print) const {
    std::vector<size_t> order(classes);
    std::iota(order.begin(), order.end(), size_t{0});
    const auto before = [&read](size_t a, size_t b) {
      const auto x = read(a), y = read(b);
      if (x != x || y != y) return y != y && (x == x || a < b);  // NaN: x != x
      return x != y ? x > y : a < b;
    };
    std::partial_sort(order.begin(), order.begin() + static_cast<std::ptrdiff_t>(k), order.end(),
                      before);
    for (size_t i = 0; i < k; ++i) {
      std::string text = fmt::format("{}:{}", print(read(order[i])), order[i]);
      if (order[i] < spec.labels.size() && !spec.labels[order[i]].empty())
        text.append(":").append(spec.labels[order[i]]);
      const auto size = static_cast<uint32_t>(text.size());
      out.append(reinterpret_cast<const char*>(&size), sizeof size).append(text);
    }
  }
};

template <typename Stored>
void IntegerRow(const Top& top, const std::byte* row) {
  top.Row([row](size_t i) { return Load<Stored>(row + i * sizeof(Stored)); },
          [](Stored v) { return fmt::format("{}", v); });
}

template <typename Stored, typename Value>
void RealRow(const Top& top, const std::byte* row, Value (*convert)(Stored)) {
  top.Row([row, convert](size_t i) { return convert(Load<Stored>(row + i * sizeof(Stored))); },
          [](Value v) { return fmt::format("{:f}", v); });
}

bool ClassifyRow(DataType type, const Top& top, const std::byte* row) {
  switch (type) {
    case DataType::kUint8: return IntegerRow<uint8_t>(top, row), true;
    case DataType::kUint16: return IntegerRow<uint16_t>(top, row), true;
    case DataType::kUint32: return IntegerRow<uint32_t>(top, row), true;
    case DataType::kUint64: return IntegerRow<uint64_t>(top, row), true;
    case DataType::kInt8: return IntegerRow<int8_t>(top, row), true;
    case DataType::kInt16: return IntegerRow<int16_t>(top, row), true;
    case DataType::kInt32: return IntegerRow<int32_t>(top, row), true;
    case DataType::kInt64: return IntegerRow<int64_t>(top, row), true;
    case DataType::kFp16: return RealRow<uint16_t, float>(top, row, FloatFromFp16), true;
    case DataType::kBf16: return RealRow<uint16_t, float>(top, row, FloatFromBf16), true;
    case DataType::kFp32: return RealRow<float, float>(top, row, [](float v) { return v; }), true;
    case DataType::kFp64:
      return RealRow<double, double>(top, row, [](double v) { return v; }), true;
    default: return false;
  }
}

}  // namespace

Result<Classification> Classify(const TensorSpec& spec, const TensorView& output, bool batched,
                                int64_t k) {
  if (k < 1)
    return InvalidArgument("output '{}': parameter 'classification': expected at least 1, got {}",
                           spec.name, k);
  const size_t element = ElementSize(output.dtype);
  if (element == 0 || output.dtype == DataType::kBool) {
    return InvalidArgument("output '{}': {} cannot be classified", spec.name, NameOf(output.dtype));
  }
  const bool by_row = batched && output.shape.rank() > 0;
  const auto rows = by_row ? static_cast<size_t>(output.shape[0]) : size_t{1};
  const size_t classes = rows == 0 ? 0 : output.data.size() / element / rows;
  const size_t top = std::min(classes, static_cast<size_t>(k));

  Classification result;
  if (by_row) result.shape.push_back(static_cast<int64_t>(rows));
  result.shape.push_back(static_cast<int64_t>(top));
  const Top writer{spec, classes, top, result.bytes};
  for (size_t row = 0; row < rows; ++row)
    ClassifyRow(output.dtype, writer, output.data.data() + row * classes * element);
  return result;
}

}  // namespace evenkeel
