#include "repository/gguf_metadata.h"

#include <bit>

#include "core/format.h"
#include "core/parse.h"
#include "repository/gguf_cursor.h"

namespace evenkeel {
namespace {

std::string RangeText(uint64_t lo, uint64_t hi) {
  return fmt::format("a whole number from {} to {}", lo, hi);
}

// The number as its type means it.
std::string NumberText(GgufType type, uint64_t bits) {
  const GgufTypeInfo& info = InfoOf(type);
  if (!info.is_signed) return std::to_string(bits);
  const int unused = 64 - 8 * info.bytes;
  return std::to_string(static_cast<int64_t>(bits << unused) >> unused);
}

bool IsNegative(GgufType type, uint64_t bits) {
  const GgufTypeInfo& info = InfoOf(type);
  return info.is_signed && (bits >> (8 * info.bytes - 1)) != 0;
}

}  // namespace

Status GgufMetadata::Error(std::string_view key, std::string_view message) {
  return InvalidArgument("key {}: {}", Excerpt(key), message);
}

Status GgufMetadata::Expected(std::string_view key, std::string_view what,
                              const GgufValue& got) const {
  if (got.type == GgufType::kArray) {
    return Error(key, fmt::format("expected {}, got an ARRAY of {} {}", what, got.count,
                                  InfoOf(got.item).name));
  }
  return Error(key, fmt::format("expected {}, got a {}", what, InfoOf(got.type).name));
}

const GgufValue* GgufMetadata::Find(std::string_view key) const {
  const auto found = header_.values.find(key);
  return found == header_.values.end() ? nullptr : &found->second;
}

std::vector<std::string> GgufMetadata::KeysFrom(std::string_view prefix) const {
  std::vector<std::string> keys;
  for (auto it = header_.values.lower_bound(prefix);
       it != header_.values.end() && it->first.starts_with(prefix); ++it) {
    keys.push_back(it->first);
  }
  return keys;
}

Result<uint64_t> GgufMetadata::WholeAt(std::string_view key, GgufType type, uint64_t at,
                                       uint64_t lo, uint64_t hi) const {
  uint64_t bits = 0;
  GgufCursor cursor(source_, at, source_.size());
  if (!cursor.Number(InfoOf(type).bytes, &bits)) return Error(key, cursor.status().message());
  if (IsNegative(type, bits) || bits < lo || bits > hi) {
    return Error(key,
                 fmt::format("expected {}, got {}", RangeText(lo, hi), NumberText(type, bits)));
  }
  return bits;
}

Result<std::optional<uint64_t>> GgufMetadata::Whole(std::string_view key, uint64_t lo,
                                                    uint64_t hi) const {
  const GgufValue* value = Find(key);
  if (value == nullptr) return std::optional<uint64_t>();
  if (!InfoOf(value->type).is_whole) return Expected(key, RangeText(lo, hi), *value);
  const Result<uint64_t> number = WholeAt(key, value->type, value->at, lo, hi);
  if (!number.ok()) return number.status();
  return std::optional<uint64_t>(*number);
}

Result<uint64_t> GgufMetadata::NeedWhole(std::string_view key, uint64_t lo, uint64_t hi) const {
  const Result<std::optional<uint64_t>> number = Whole(key, lo, hi);
  if (!number.ok()) return number.status();
  if (!*number) return Error(key, fmt::format("is missing, expected {}", RangeText(lo, hi)));
  return **number;
}

Result<std::vector<uint64_t>> GgufMetadata::PerLayer(std::string_view key, uint64_t layers,
                                                     uint64_t lo, uint64_t hi) const {
  const GgufValue* value = Find(key);
  if (value == nullptr) return std::vector<uint64_t>();
  if (value->type != GgufType::kArray) {
    const Result<uint64_t> number = NeedWhole(key, lo, hi);
    if (!number.ok()) return number.status();
    return std::vector<uint64_t>(layers, *number);
  }
  const GgufTypeInfo& item = InfoOf(value->item);
  if (!item.is_whole || value->count != layers) {
    return Expected(key, fmt::format("a whole number or an ARRAY of {}, one a block", layers),
                    *value);
  }
  std::vector<uint64_t> numbers;
  for (uint64_t i = 0; i < layers; ++i) {
    const Result<uint64_t> number = WholeAt(key, value->item, value->at + i * item.bytes, 0, hi);
    if (!number.ok()) return number.status();
    numbers.push_back(*number);
  }
  return numbers;
}

Status GgufMetadata::CheckReal(std::string_view key, double lo, double hi) const {
  const GgufValue* value = Find(key);
  if (value == nullptr) return Status::Ok();
  const std::string what = fmt::format("a number from {} to {}", lo, hi);
  if (value->type != GgufType::kFloat32 && value->type != GgufType::kFloat64) {
    return Expected(key, what, *value);
  }
  uint64_t bits = 0;
  GgufCursor cursor(source_, value->at, source_.size());
  if (!cursor.Number(InfoOf(value->type).bytes, &bits))
    return Error(key, cursor.status().message());
  const double number = value->type == GgufType::kFloat64
                            ? std::bit_cast<double>(bits)
                            : std::bit_cast<float>(static_cast<uint32_t>(bits));
  if (number >= lo && number <= hi) return Status::Ok();
  return Error(key, fmt::format("expected {}, got {}", what, number));
}

Result<std::optional<std::string>> GgufMetadata::Text(std::string_view key,
                                                      size_t most_bytes) const {
  const GgufValue* value = Find(key);
  if (value == nullptr) return std::optional<std::string>();
  if (value->type != GgufType::kString) return Expected(key, "a STRING", *value);
  if (value->count > most_bytes) {
    return TooLarge("key {}: {} bytes of text; at most {} are read", Excerpt(key), value->count,
                    most_bytes);
  }
  return std::optional<std::string>(source_.Text(value->at, value->at + value->count, most_bytes));
}

Result<const GgufValue*> GgufMetadata::Array(std::string_view key, GgufType item) const {
  const GgufValue* value = Find(key);
  if (value == nullptr || (value->type == GgufType::kArray && value->item == item)) return value;
  return Expected(key, fmt::format("an ARRAY of {}", InfoOf(item).name), *value);
}

Status GgufMetadata::CheckItems(std::string_view key, const GgufValue& array, uint64_t lo,
                                uint64_t hi) const {
  const GgufTypeInfo& item = InfoOf(array.item);
  if (array.type != GgufType::kArray || !item.is_whole) {
    return Expected(key, "an ARRAY of whole numbers", array);
  }
  for (uint64_t i = 0; i < array.count; ++i) {
    EK_RETURN_IF_ERROR(WholeAt(key, array.item, array.at + i * item.bytes, lo, hi).status());
  }
  return Status::Ok();
}

}  // namespace evenkeel
