#include "frontends/openai_fields.h"

#include <algorithm>

#include "frontends/http_reply.h"

namespace evenkeel {
namespace {

constexpr size_t kNamesShown = 8;
constexpr size_t kNameShown = 64;  // bytes of each

std::string Range(double lo, double hi) { return fmt::format("from {:g} to {:g}", lo, hi); }

}  // namespace

std::string JsonPath(const std::string& prefix, std::string_view name) {
  return prefix.empty() ? std::string(name) : prefix + "." + std::string(name);
}

std::string JsonPath(const std::string& prefix, size_t index) {
  return fmt::format("{}[{}]", prefix, index);
}

std::string Describe(const JsonElement& value) {
  using simdjson::dom::element_type;
  switch (value.type()) {
    case element_type::ARRAY: return "an array";
    case element_type::OBJECT: return "an object";
    case element_type::STRING: return "a string";
    case element_type::BOOL: return bool(value) ? "true" : "false";
    case element_type::NULL_VALUE: return "null";
    case element_type::INT64: return fmt::format("the number {}", int64_t(value));
    case element_type::UINT64: return fmt::format("the number {}", uint64_t(value));
    case element_type::DOUBLE: return fmt::format("the number {}", double(value));
  }
  return "something else";
}

ApiError ReadBool(const JsonElement& value, const std::string& path, bool* out) {
  if (value.get_bool().get(*out) == simdjson::SUCCESS) return {};
  return BadField(path, "expected true or false, got {}", Describe(value));
}

ApiError ReadNumber(const JsonElement& value, const std::string& path, double lo, double hi,
                    float* out) {
  double number = 0;
  if (value.is_number() && value.get_double().get(number) == simdjson::SUCCESS && number >= lo &&
      number <= hi) {
    *out = static_cast<float>(number);
    return {};
  }
  return BadField(path, "expected a number {}, got {}", Range(lo, hi), Describe(value));
}

ApiError ReadInt(const JsonElement& value, const std::string& path, int64_t lo, int64_t hi,
                 int* out) {
  int64_t number = 0;
  if (value.is_int64() && value.get_int64().get(number) == simdjson::SUCCESS && number >= lo &&
      number <= hi) {
    *out = static_cast<int>(number);
    return {};
  }
  return BadField(path, "expected a whole number from {} to {}, got {}", lo, hi, Describe(value));
}

ApiError ReadText(const JsonElement& value, const std::string& path, size_t limit,
                  std::string_view* out) {
  if (value.get_string().get(*out) != simdjson::SUCCESS)
    return BadField(path, "expected a string, got {}", Describe(value));
  if (out->size() > limit)
    return BadField(path, "expected at most {} bytes, got {}", limit, out->size());
  return {};
}

ApiError ReadArray(const JsonElement& value, const std::string& path, size_t least, size_t most,
                   JsonArray* out) {
  if (value.get_array().get(*out) != simdjson::SUCCESS)
    return BadField(path, "expected an array, got {}", Describe(value));
  // Not size(), which stops counting at 2^24.
  const auto count = static_cast<size_t>(std::distance(out->begin(), out->end()));
  if (count < least) return BadField(path, "expected at least {} items, got {}", least, count);
  if (count > most) return BadField(path, "expected at most {} items, got {}", most, count);
  return {};
}

ApiError ReadObject(const JsonElement& value, const std::string& path, JsonObject* out) {
  if (value.get_object().get(*out) != simdjson::SUCCESS)
    return BadField(path, "expected an object, got {}", Describe(value));
  const Status keys = CheckJsonKeys(*out);
  if (!keys.ok()) return {keys.Annotate(fmt::format("'{}'", path)), path, ""};
  return {};
}

std::string IgnoredWarning(const std::vector<std::string>& unknown) {
  if (unknown.empty()) return "";
  std::string text = "ignored unknown fields: ";
  for (size_t i = 0; i < std::min(unknown.size(), kNamesShown); ++i) {
    if (i > 0) text.append(", ");
    text.append(HeaderSafe(std::string_view(unknown[i]).substr(0, kNameShown)));
  }
  if (unknown.size() > kNamesShown) text.append(", ...");
  return text;
}

ApiError ReadTruncation(const JsonElement& value, const std::string& path, bool* truncate) {
  std::string_view text;
  EK_RETURN_IF_API_ERROR(ReadText(value, path, 64, &text));
  if (text != "auto" && text != "disabled")
    return BadField(path, "expected \"auto\" or \"disabled\"");
  *truncate = text == "auto";
  return {};
}

}  // namespace evenkeel
