#include "profiling/safetensors.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <nlohmann/json.hpp>
#include <optional>
#include <set>
#include <utility>

#include "core/format.h"
#include "core/parse.h"
#include "core/strict_json.h"

namespace evenkeel {
namespace {

using Json = nlohmann::json;
constexpr std::string_view kMetadata = "__metadata__";
constexpr size_t kLengthBytes = 8;
constexpr size_t kMaxTensors = 100'000;
constexpr size_t kMaxTensorRank = 32;
constexpr int kDeepest = 4;  // __metadata__ and tensors need three levels

constexpr auto kNames = std::to_array<std::pair<DataType, std::string_view>>({
    {DataType::kBool, "BOOL"},
    {DataType::kUint8, "U8"},
    {DataType::kUint16, "U16"},
    {DataType::kUint32, "U32"},
    {DataType::kUint64, "U64"},
    {DataType::kInt8, "I8"},
    {DataType::kInt16, "I16"},
    {DataType::kInt32, "I32"},
    {DataType::kInt64, "I64"},
    {DataType::kFp16, "F16"},
    {DataType::kBf16, "BF16"},
    {DataType::kFp32, "F32"},
    {DataType::kFp64, "F64"},
});

std::string_view FileName(DataType type) {
  for (const auto& [dtype, name] : kNames) {
    if (dtype == type) return name;
  }
  return {};
}

DataType FromFileName(std::string_view text) {
  for (const auto& [dtype, name] : kNames) {
    if (name == text) return dtype;
  }
  return DataType::kInvalid;
}

std::optional<uint64_t> BytesOf(DataType dtype, std::span<const uint64_t> shape) {
  uint64_t bytes = ElementSize(dtype);
  bool zero = false;
  for (const uint64_t d : shape) {
    if (d == 0) {
      zero = true;
    } else if (__builtin_mul_overflow(bytes, d, &bytes)) {
      return std::nullopt;
    }
  }
  return zero ? 0 : bytes;
}

Status CheckTensor(const SafeTensor& tensor) {
  if (!IsUtf8(tensor.name) || tensor.name == kMetadata) {
    return InvalidArgument("{} cannot be a tensor's name", Excerpt(tensor.name));
  }
  if (FileName(tensor.dtype).empty()) {
    return InvalidArgument("tensor '{}': {} has no place in the format", tensor.name,
                           NameOf(tensor.dtype));
  }
  const auto bytes = BytesOf(tensor.dtype, tensor.shape);
  if (!bytes || *bytes != tensor.data.size()) {
    return InvalidArgument("tensor '{}': {} bytes do not follow from its shape", tensor.name,
                           tensor.data.size());
  }
  return Status::Ok();
}

std::optional<uint64_t> AsCount(const Json& value) {
  if (!value.is_number_unsigned()) return std::nullopt;
  return value.get<uint64_t>();
}

struct Placed {
  SafeTensor tensor;
  uint64_t begin = 0, end = 0;
};

Result<Placed> ReadTensor(const std::string& name, const Json& entry,
                          std::span<const std::byte> data) {
  const auto bad = [&name](std::string_view what) {
    return InvalidArgument("tensor {}: {}", Excerpt(name), what);
  };
  if (!entry.is_object() || entry.size() != 3 || !entry.contains("dtype") ||
      !entry.contains("shape") || !entry.contains("data_offsets")) {
    return bad("expected dtype, shape and data_offsets");
  }
  Placed placed;
  placed.tensor.name = name;
  if (entry["dtype"].is_string()) {
    placed.tensor.dtype = FromFileName(entry["dtype"].get_ref<const std::string&>());
  }
  if (placed.tensor.dtype == DataType::kInvalid) return bad("unknown dtype");
  const Json& shape = entry["shape"];
  if (!shape.is_array() || shape.size() > kMaxTensorRank) return bad("shape is no list of sizes");
  for (const Json& d : shape) {
    const auto size = AsCount(d);
    if (!size) return bad("shape is no list of sizes");
    placed.tensor.shape.push_back(*size);
  }
  const Json& offsets = entry["data_offsets"];
  if (!offsets.is_array() || offsets.size() != 2) return bad("data_offsets is no pair");
  const auto begin = AsCount(offsets[0]);
  const auto end = AsCount(offsets[1]);
  if (!begin || !end || *begin > *end || *end > data.size())
    return bad("data_offsets lie outside the data");
  const auto bytes = BytesOf(placed.tensor.dtype, placed.tensor.shape);
  if (!bytes || *bytes != *end - *begin) return bad("data_offsets do not fit dtype and shape");
  placed.begin = *begin;
  placed.end = *end;
  placed.tensor.data = data.subspan(*begin, *end - *begin);
  return placed;
}

Status ReadMetadata(const Json& entry, std::map<std::string, std::string>* out) {
  if (!entry.is_object()) return InvalidArgument("__metadata__ is no object");
  for (const auto& [key, value] : entry.items()) {
    if (!value.is_string()) return InvalidArgument("__metadata__: {} is no text", Excerpt(key));
    out->emplace(key, value.get<std::string>());
  }
  return Status::Ok();
}

}  // namespace

const SafeTensor* SafeTensors::Find(std::string_view name) const {
  const auto found =
      std::ranges::find_if(tensors, [name](const SafeTensor& t) { return t.name == name; });
  return found == tensors.end() ? nullptr : &*found;
}

Result<std::string> EncodeSafetensors(const SafeTensors& content) {
  std::vector<const SafeTensor*> order;
  std::set<std::string_view> names;
  for (const SafeTensor& tensor : content.tensors) {
    EK_RETURN_IF_ERROR(CheckTensor(tensor));
    if (!names.insert(tensor.name).second)
      return InvalidArgument("tensor '{}' is there twice", tensor.name);
    order.push_back(&tensor);
  }
  std::ranges::stable_sort(order, [](const SafeTensor* a, const SafeTensor* b) {
    return ElementSize(a->dtype) > ElementSize(b->dtype);
  });
  Json header = Json::object();
  for (const auto& [key, value] : content.metadata) {
    if (!IsUtf8(key) || !IsUtf8(value))
      return InvalidArgument("metadata {} is no UTF-8", Excerpt(key));
    header[kMetadata][key] = value;
  }
  uint64_t at = 0;
  for (const SafeTensor* tensor : order) {
    const uint64_t end = at + tensor->data.size();
    header[tensor->name] = {
        {"dtype", FileName(tensor->dtype)}, {"shape", tensor->shape}, {"data_offsets", {at, end}}};
    at = end;
  }
  std::string text = header.dump();
  text.resize((text.size() + 7) / 8 * 8, ' ');
  if (text.size() > kMaxSafetensorsHeader)
    return InvalidArgument("the header would take {} bytes", text.size());
  std::string file;
  file.reserve(kLengthBytes + text.size() + at);
  for (size_t i = 0; i < kLengthBytes; ++i)
    file += static_cast<char>(text.size() >> (8 * i) & 0xff);
  file += text;
  for (const SafeTensor* tensor : order) {
    file.append(reinterpret_cast<const char*>(tensor->data.data()), tensor->data.size());
  }
  return file;
}

Result<SafeTensors> DecodeSafetensors(std::span<const std::byte> file) {
  if (file.size() < kLengthBytes) return InvalidArgument("shorter than its header's length");
  uint64_t length = 0;
  for (size_t i = 0; i < kLengthBytes; ++i) length |= std::to_integer<uint64_t>(file[i]) << (8 * i);
  if (length > kMaxSafetensorsHeader || length > file.size() - kLengthBytes) {
    return InvalidArgument("a header of {} bytes does not fit", length);
  }
  const auto* text = reinterpret_cast<const char*>(file.data()) + kLengthBytes;
  const std::span<const std::byte> data = file.subspan(kLengthBytes + length);
  const Result<Json> header = ParseStrictObject<Json>({text, length}, kDeepest, "the header");
  if (!header.ok()) return header.status();
  if (header->size() > kMaxTensors) return InvalidArgument("more than {} tensors", kMaxTensors);
  SafeTensors content;
  std::vector<Placed> placed;
  for (const auto& [name, entry] : header->items()) {
    if (name == kMetadata) {
      EK_RETURN_IF_ERROR(ReadMetadata(entry, &content.metadata));
      continue;
    }
    Result<Placed> tensor = ReadTensor(name, entry, data);
    if (!tensor.ok()) return tensor.status();
    placed.push_back(std::move(*tensor));
  }
  std::ranges::sort(placed, [](const Placed& a, const Placed& b) {
    return std::pair(a.begin, a.end) < std::pair(b.begin, b.end);
  });
  uint64_t at = 0;
  for (Placed& next : placed) {
    if (next.begin != at)
      return InvalidArgument("tensor {}: gap or overlap before it", Excerpt(next.tensor.name));
    at = next.end;
    content.tensors.push_back(std::move(next.tensor));
  }
  if (at != data.size()) return InvalidArgument("{} bytes after the last tensor", data.size() - at);
  return content;
}

}  // namespace evenkeel
