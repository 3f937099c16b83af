// Reading request bodies in the protocol's JSON form.
#include <cmath>
#include <limits>
#include <nlohmann/json.hpp>

#include "core/format.h"
#include "loadgen/inputs.h"

namespace evenkeel::loadgen {
namespace {

using nlohmann::json;

template <typename T>
bool AppendInteger(const json& value, std::string* out) {
  T v{};
  if (value.is_number_unsigned()) {
    const auto n = value.get<uint64_t>();
    if (n > static_cast<uint64_t>(std::numeric_limits<T>::max())) return false;
    v = static_cast<T>(n);
  } else if (value.is_number_integer()) {
    const auto n = value.get<int64_t>();
    if (std::is_unsigned_v<T> || n < static_cast<int64_t>(std::numeric_limits<T>::min()))
      return false;
    v = static_cast<T>(n);
  } else {
    return false;
  }
  out->append(reinterpret_cast<const char*>(&v), sizeof v);
  return true;
}

template <typename T>
bool AppendFloat(const json& value, std::string* out) {
  if (!value.is_number()) return false;
  const T v = value.get<T>();
  out->append(reinterpret_cast<const char*>(&v), sizeof v);
  return true;
}

bool AppendScalar(DataType type, const json& value, std::string* out) {
  switch (type) {
    case DataType::kBool:
      if (!value.is_boolean() && value != 0 && value != 1) return false;
      out->push_back(value == true || value == 1 ? '\1' : '\0');
      return true;
    case DataType::kUint8: return AppendInteger<uint8_t>(value, out);
    case DataType::kUint16: return AppendInteger<uint16_t>(value, out);
    case DataType::kUint32: return AppendInteger<uint32_t>(value, out);
    case DataType::kUint64: return AppendInteger<uint64_t>(value, out);
    case DataType::kInt8: return AppendInteger<int8_t>(value, out);
    case DataType::kInt16: return AppendInteger<int16_t>(value, out);
    case DataType::kInt32: return AppendInteger<int32_t>(value, out);
    case DataType::kInt64: return AppendInteger<int64_t>(value, out);
    case DataType::kFp32: return AppendFloat<float>(value, out);
    case DataType::kFp64: return AppendFloat<double>(value, out);
    case DataType::kBytes: {
      if (!value.is_string()) return false;
      const auto& text = value.get_ref<const std::string&>();
      const auto size = static_cast<uint32_t>(text.size());
      out->append(reinterpret_cast<const char*>(&size), sizeof size);
      out->append(text);
      return true;
    }
    default: return false;
  }
}

// Flattens nested arrays, row-major. `*count` counts the scalars.
bool AppendData(DataType type, const json& value, int depth, std::string* out, int64_t* count) {
  if (!value.is_array()) {
    ++*count;
    return AppendScalar(type, value, out);
  }
  if (depth > kMaxRank) return false;
  for (const json& element : value) {
    if (!AppendData(type, element, depth + 1, out, count)) return false;
  }
  return true;
}

Result<InputTensor> TensorFromJson(const json& j, std::string_view where) {
  if (!j.is_object() || !j.value("name", json()).is_string() ||
      !j.value("datatype", json()).is_string() || !j.value("shape", json()).is_array() ||
      !j.value("data", json()).is_array()) {
    return InvalidArgument("{}: an input needs name, datatype, shape and data", where);
  }
  InputTensor tensor;
  tensor.name = j["name"].get<std::string>();
  const auto type = j["datatype"].get<std::string>();
  tensor.dtype = DataTypeFromName(type);
  if (tensor.dtype == DataType::kInvalid)
    return InvalidArgument("{}: input '{}' has the unknown datatype '{}'", where, tensor.name,
                           type);
  if (tensor.dtype == DataType::kFp16 || tensor.dtype == DataType::kBf16) {
    return Unsupported("{}: input '{}' is {}, which has no JSON form; use a safetensors file",
                       where, tensor.name, type);
  }
  for (const json& d : j["shape"]) {
    if (!d.is_number_integer() || d.get<int64_t>() < 0 || tensor.shape.full()) {
      return InvalidArgument("{}: input '{}' needs a shape of at most {} non-negative integers",
                             where, tensor.name, kMaxRank);
    }
    tensor.shape.push_back(d.get<int64_t>());
  }
  int64_t count = 0;
  if (!AppendData(tensor.dtype, j["data"], 0, &tensor.data, &count)) {
    return InvalidArgument("{}: input '{}' has data that is not {}", where, tensor.name, type);
  }
  if (count != tensor.shape.ElementCount()) {
    return InvalidArgument("{}: input '{}' of shape {} has {} values", where, tensor.name,
                           tensor.shape.ToString(), count);
  }
  return tensor;
}

}  // namespace

Result<std::vector<InputSet>> InputsFromJson(std::string_view text, std::string_view name) {
  json j = json::parse(text, nullptr, false);
  if (j.is_discarded()) return InvalidArgument("{}: not JSON", name);
  if (j.is_object()) j = json::array({j});
  if (!j.is_array() || j.empty())
    return InvalidArgument("{}: expected a request body {{\"inputs\": [...]}}, or an array of them",
                           name);
  std::vector<InputSet> sets;
  for (size_t i = 0; i < j.size(); ++i) {
    const std::string where = fmt::format("{}: request {}", name, i);
    if (!j[i].is_object() || !j[i].value("inputs", json()).is_array() || j[i]["inputs"].empty()) {
      return InvalidArgument("{} has no \"inputs\"", where);
    }
    InputSet set;
    for (const json& input : j[i]["inputs"]) {
      Result<InputTensor> tensor = TensorFromJson(input, where);
      if (!tensor.ok()) return tensor.status();
      set.tensors.push_back(std::move(*tensor));
    }
    const Shape& first = set.tensors.front().shape;
    set.rows = first.rank() > 0 ? static_cast<int>(std::clamp<int64_t>(first[0], 1, 1 << 20)) : 1;
    sets.push_back(std::move(set));
  }
  return sets;
}

}  // namespace evenkeel::loadgen
