#include "frontends/strict_json.h"

#include <algorithm>
#include <vector>

#include "core/format.h"

namespace evenkeel {
namespace {

using simdjson::dom::array;
using simdjson::dom::element;
using simdjson::dom::object;

constexpr size_t kKeepParser = 4 * 1024 * 1024;  // a parser that has grown past this is not kept

simdjson::dom::parser NewParser() {
  simdjson::dom::parser parser;
  [[maybe_unused]] const auto error = parser.allocate(4096, kMaxJsonDepth);
  return parser;
}

simdjson::dom::parser& Parser() {
  thread_local simdjson::dom::parser parser = NewParser();
  return parser;
}

bool IsUtf8(std::string_view s) { return simdjson::validate_utf8(s.data(), s.size()); }

bool StringsAreUtf8(const element& e) {
  std::string_view text;
  object fields;
  array items;
  if (e.get_string().get(text) == simdjson::SUCCESS) return IsUtf8(text);
  if (e.get_array().get(items) == simdjson::SUCCESS) {
    return std::all_of(items.begin(), items.end(),
                       [](const element& i) { return StringsAreUtf8(i); });
  }
  if (e.get_object().get(fields) == simdjson::SUCCESS) {
    return std::all_of(fields.begin(), fields.end(),
                       [](const auto& f) { return IsUtf8(f.key) && StringsAreUtf8(f.value); });
  }
  return true;
}

}  // namespace

// A copy with the padding that simdjson asks for is made inside; it is small beside the parsing.
Status StrictJson::Parse(std::string_view text) {
  auto& parser = Parser();
  element root;
  const auto error = parser.parse(text.data(), text.size(), true).get(root);
  if (error == simdjson::EMPTY) return InvalidArgument("the request has no JSON");
  if (error == simdjson::DEPTH_ERROR)
    return InvalidArgument("the JSON is nested deeper than {}", kMaxJsonDepth);
  if (error != simdjson::SUCCESS)
    return InvalidArgument("malformed JSON: {}", simdjson::error_message(error));
  if (root.get_object().get(root_) != simdjson::SUCCESS)
    return InvalidArgument("expected a JSON object");
  // Only an escape can smuggle half a character past the check of the text.
  if (text.find("\\u") != std::string_view::npos && !StringsAreUtf8(root)) {
    return InvalidArgument("malformed JSON: a string has half of a surrogate pair");
  }
  return {};
}

StrictJson::~StrictJson() {
  if (Parser().capacity() > kKeepParser) Parser() = NewParser();
}

Status CheckJsonKeys(const object& o) {
  std::vector<std::string_view> keys;
  keys.reserve(8);
  for (const auto field : o) keys.push_back(field.key);
  std::sort(keys.begin(), keys.end());
  const auto twice = std::adjacent_find(keys.begin(), keys.end());
  if (twice != keys.end()) return InvalidArgument("the key '{}' is given twice", *twice);
  return {};
}

Status CheckJsonKeysBelow(const element& e) {
  array items;
  object fields;
  if (e.get_array().get(items) == simdjson::SUCCESS) {
    for (const element item : items) EK_RETURN_IF_ERROR(CheckJsonKeysBelow(item));
  } else if (e.get_object().get(fields) == simdjson::SUCCESS) {
    EK_RETURN_IF_ERROR(CheckJsonKeys(fields));
    for (const auto field : fields) EK_RETURN_IF_ERROR(CheckJsonKeysBelow(field.value));
  }
  return {};
}

}  // namespace evenkeel
