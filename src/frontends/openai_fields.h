// Reads the fields of JSON objects by table: every known field has a reader, all others are remembered.
//
// Contract: a field that is null counts as absent, as OpenAI's clients send it. Errors name the field with its path. What is unknown is no
//   error; its name goes into `unknown`.
// Thread-safety: thread-safe.
#pragma once

#include <simdjson.h>

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "frontends/openai_error.h"
#include "frontends/strict_json.h"

namespace evenkeel {

using JsonElement = simdjson::dom::element;
using JsonObject = simdjson::dom::object;
using JsonArray = simdjson::dom::array;

template <typename T>
struct JsonField {
  std::string_view name;
  // `path` is the field's own, for messages.
  ApiError (*read)(const JsonElement& value, const std::string& path, T* out);
};

// "messages[2]" and "content" to "messages[2].content".
std::string JsonPath(const std::string& prefix, std::string_view name);
std::string JsonPath(const std::string& prefix, size_t index);

// What came instead of what was expected: "a string", "the number 7", "null".
std::string Describe(const JsonElement& value);

// "auto": what is too long is cut; "disabled": it is an error.
ApiError ReadTruncation(const JsonElement& value, const std::string& path, bool* truncate);
ApiError ReadBool(const JsonElement& value, const std::string& path, bool* out);
// Finite, lo <= value <= hi.
ApiError ReadNumber(const JsonElement& value, const std::string& path, double lo, double hi,
                    float* out);
// A whole number without a fraction, lo <= value <= hi.
ApiError ReadInt(const JsonElement& value, const std::string& path, int64_t lo, int64_t hi,
                 int* out);
// At most `limit` bytes.
ApiError ReadText(const JsonElement& value, const std::string& path, size_t limit,
                  std::string_view* out);
ApiError ReadArray(const JsonElement& value, const std::string& path, size_t least, size_t most,
                   JsonArray* out);
// An object without a key given twice.
ApiError ReadObject(const JsonElement& value, const std::string& path, JsonObject* out);

// A field that says nothing here, but has to have its type.
template <typename T>
ApiError AnyText(const JsonElement& value, const std::string& path, T*) {
  std::string_view ignored;
  return ReadText(value, path, size_t{1} << 20, &ignored);
}

template <typename T>
ApiError ReadFields(const JsonObject& object, const std::string& prefix,
                    std::span<const JsonField<T>> fields, T* out,
                    std::vector<std::string>* unknown) {
  const Status keys = CheckJsonKeys(object);
  if (!keys.ok()) return {keys, prefix, ""};
  for (const auto field : object) {
    const JsonField<T>* known = nullptr;
    for (const JsonField<T>& each : fields) {
      if (each.name == field.key) known = &each;
    }
    std::string path = JsonPath(prefix, field.key);
    if (known == nullptr) {
      if (unknown != nullptr) unknown->push_back(std::move(path));
    } else if (!field.value.is_null()) {
      EK_RETURN_IF_API_ERROR(known->read(field.value, path, out));
    }
  }
  return {};
}

// The fields that were ignored, for a header: "ignored unknown fields: a, b". Empty when there are none.
std::string IgnoredWarning(const std::vector<std::string>& unknown);

}  // namespace evenkeel
