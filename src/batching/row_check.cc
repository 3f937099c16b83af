#include "batching/row_check.h"

#include <algorithm>
#include <cstring>
#include <utility>

#include "core/format.h"

namespace evenkeel {
namespace {

std::string Wanted(const TensorSpec& spec) {
  return fmt::format("{} {}", NameOf(spec.dtype), spec.shape.ToString());
}

Status CheckShape(std::string_view model, bool batched, const TensorSpec& spec,
                  const TensorView& view) {
  bool fits = view.dtype == spec.dtype && view.shape.rank() == spec.shape.rank();
  for (int i = 0; fits && i < spec.shape.rank(); ++i) {
    // Any number of rows is taken, also where the model's own batch axis is fixed: batches are padded up to it.
    const bool any = spec.shape[i] == kDynamic || (batched && i == 0);
    fits = view.shape[i] >= 0 && (any || spec.shape[i] == view.shape[i]);
  }
  if (fits) return Status::Ok();
  return InvalidArgument("model '{}': input '{}': expected {}, got {} {}", model, spec.name,
                         Wanted(spec), NameOf(view.dtype), view.shape.ToString());
}

Status CheckSize(std::string_view model, const TensorSpec& spec, const TensorView& view) {
  if (spec.dtype != DataType::kBytes) {
    const auto bytes = DenseBytes(view.dtype, view.shape);
    if (!bytes.ok())
      return bytes.status().Annotate(fmt::format("model '{}': input '{}'", model, spec.name));
    if (*bytes == view.data.size()) return Status::Ok();
    return InvalidArgument("model '{}': input '{}': {} {} takes {} bytes, got {}", model, spec.name,
                           NameOf(view.dtype), view.shape.ToString(), *bytes, view.data.size());
  }
  const auto count = view.shape.ElementCount();
  if (!count) {
    return InvalidArgument("model '{}': input '{}': shape {} is too large", model, spec.name,
                           view.shape.ToString());
  }
  const auto bytes = BytesElementsSize(view.data, *count);
  if (!bytes.ok())
    return bytes.status().Annotate(fmt::format("model '{}': input '{}'", model, spec.name));
  if (*bytes == view.data.size()) return Status::Ok();
  return InvalidArgument("model '{}': input '{}': {} elements take {} bytes, got {}", model,
                         spec.name, *count, *bytes, view.data.size());
}

// The data may lie at any address (it is a slice of a request), so values are loaded bytewise; the compiler vectorises it.
template <typename T>
Status CheckIds(std::string_view model, const TensorSpec& spec, const TensorView& view) {
  const size_t count = view.data.size() / sizeof(T);
  const auto load = [&](size_t i) {
    T value;
    std::memcpy(&value, view.data.data() + i * sizeof(T), sizeof(T));
    return value;
  };
  T low = count ? load(0) : T{};
  T high = low;
  for (size_t i = 1; i < count; ++i) {
    const T value = load(i);
    low = std::min(low, value);
    high = std::max(high, value);
  }
  if (count == 0) return Status::Ok();
  const IdRange& range = *spec.range;
  const bool low_ok = std::cmp_greater_equal(low, range.lo);
  if (low_ok && std::cmp_less_equal(high, range.hi)) return Status::Ok();
  return InvalidArgument("model '{}': input '{}': expected ids within [{}, {}], got {}", model,
                         spec.name, range.lo, range.hi, low_ok ? high : low);
}

Status CheckRange(std::string_view model, const TensorSpec& spec, const TensorView& view) {
  switch (spec.dtype) {
    case DataType::kInt8: return CheckIds<int8_t>(model, spec, view);
    case DataType::kInt16: return CheckIds<int16_t>(model, spec, view);
    case DataType::kInt32: return CheckIds<int32_t>(model, spec, view);
    case DataType::kInt64: return CheckIds<int64_t>(model, spec, view);
    case DataType::kUint8: return CheckIds<uint8_t>(model, spec, view);
    case DataType::kUint16: return CheckIds<uint16_t>(model, spec, view);
    case DataType::kUint32: return CheckIds<uint32_t>(model, spec, view);
    case DataType::kUint64: return CheckIds<uint64_t>(model, spec, view);
    default: return Status::Ok();
  }
}

Status CheckBool(std::string_view model, const TensorSpec& spec, const TensorView& view) {
  for (const std::byte b : view.data) {
    if (b > std::byte{1}) {
      return InvalidArgument("model '{}': input '{}': expected BOOL bytes 0 or 1, got {}", model,
                             spec.name, static_cast<int>(b));
    }
  }
  return Status::Ok();
}

// Puts the views into signature order; every input must be there once.
Status SortInputs(std::string_view model, const Signature& signature,
                  std::vector<TensorView>& inputs) {
  for (const TensorView& view : inputs) {
    if (view.spec >= signature.inputs.size()) {
      return InvalidArgument("model '{}': input {} of {} inputs", model, view.spec,
                             signature.inputs.size());
    }
  }
  std::ranges::sort(inputs, {}, &TensorView::spec);
  for (size_t i = 0; i < signature.inputs.size(); ++i) {
    if (i >= inputs.size() || inputs[i].spec > i) {
      return InvalidArgument("model '{}': input '{}' is missing: expected {}", model,
                             signature.inputs[i].name, Wanted(signature.inputs[i]));
    }
    if (inputs[i].spec < i) {
      return InvalidArgument("model '{}': input '{}' is given twice", model,
                             signature.inputs[inputs[i].spec].name);
    }
  }
  if (inputs.size() > signature.inputs.size()) {
    return InvalidArgument("model '{}': input '{}' is given twice", model,
                           signature.inputs[inputs.back().spec].name);
  }
  return Status::Ok();
}

}  // namespace

Result<int64_t> CheckCall(std::string_view model, const Signature& signature, InferCall& call) {
  EK_RETURN_IF_ERROR(SortInputs(model, signature, call.inputs));
  int64_t rows = 1;
  for (size_t i = 0; i < call.inputs.size(); ++i) {
    const TensorSpec& spec = signature.inputs[i];
    const TensorView& view = call.inputs[i];
    EK_RETURN_IF_ERROR(CheckShape(model, signature.batched, spec, view));
    EK_RETURN_IF_ERROR(CheckSize(model, spec, view));
    if (spec.dtype == DataType::kBool) EK_RETURN_IF_ERROR(CheckBool(model, spec, view));
    if (spec.range) EK_RETURN_IF_ERROR(CheckRange(model, spec, view));
    if (!signature.batched) continue;
    if (i == 0) rows = view.shape[0];
    if (view.shape[0] != rows) {
      return InvalidArgument("model '{}': input '{}' has {} rows, input '{}' has {}", model,
                             spec.name, view.shape[0], signature.inputs[0].name, rows);
    }
    if (rows == 0) {
      return InvalidArgument("model '{}': input '{}': expected {} with at least one row, got {}",
                             model, spec.name, Wanted(spec), view.shape.ToString());
    }
  }
  return rows;
}

}  // namespace evenkeel
