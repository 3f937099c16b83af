#include "core/json_fields.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "core/format.h"
#include "core/parse.h"
#include "core/suggest.h"

namespace evenkeel {
namespace {

constexpr double kMost = 1e15;

}  // namespace

JsonFields::JsonFields(const nlohmann::json& object, std::string place,
                       std::initializer_list<std::string_view> known)
    : object_(object), place_(std::move(place)) {
  if (!object.is_object()) {
    Fail("", "an object", object);
    return;
  }
  for (const auto& [key, value] : object.items()) {
    if (std::ranges::find(known, key) != known.end()) continue;
    const auto near = ClosestTo(key, {known.begin(), known.size()});
    status_ = InvalidArgument("{}unknown key {}{}", At(""), Excerpt(key),
                              near.empty() ? "" : fmt::format("; did you mean '{}'?", near));
    return;
  }
}

std::string JsonFields::At(std::string_view key) const {
  const std::string_view between = place_.empty() || key.empty() ? "" : ".";
  std::string at = fmt::format("{}{}{}", place_, between, key);
  if (!at.empty()) at += ": ";
  return at;
}

void JsonFields::Fail(const char* key, const std::string& expected, const nlohmann::json& got) {
  if (!status_.ok()) return;
  status_ = InvalidArgument("{}expected {}, got {}", At(key), expected, Excerpt(got.dump()));
}

const nlohmann::json* JsonFields::Find(const char* key, bool needed) {
  if (!status_.ok()) return nullptr;
  const auto at = object_.find(key);
  if (at != object_.end()) return &*at;
  if (needed) status_ = InvalidArgument("{}'{}' is missing", At(""), key);
  return nullptr;
}

double JsonFields::Number(const char* key, double otherwise, bool needed, double least) {
  const auto* const value = Find(key, needed);
  if (value == nullptr) return otherwise;
  if (value->is_number()) {
    const auto number = value->get<double>();
    if (number >= least && number <= kMost) return number;
  }
  Fail(key, fmt::format("a number of at least {}", least), *value);
  return otherwise;
}

int64_t JsonFields::Count(const char* key, int64_t otherwise, int64_t least, int64_t most) {
  const auto* const value = Find(key, false);
  if (value == nullptr) return otherwise;
  if (value->is_number()) {
    const auto number = value->get<double>();
    if (number == std::floor(number) && number >= static_cast<double>(least) &&
        number <= static_cast<double>(most))
      return static_cast<int64_t>(number);
  }
  Fail(key, fmt::format("a whole number from {} to {}", least, most), *value);
  return otherwise;
}

std::string JsonFields::Text(const char* key, const std::string& otherwise, bool needed) {
  const auto* const value = Find(key, needed);
  if (value == nullptr) return otherwise;
  if (value->is_string() && !value->get_ref<const std::string&>().empty())
    return value->get<std::string>();
  Fail(key, "a text", *value);
  return otherwise;
}

bool JsonFields::Truth(const char* key, bool otherwise) {
  const auto* const value = Find(key, false);
  if (value == nullptr) return otherwise;
  if (value->is_boolean()) return value->get<bool>();
  Fail(key, "true or false", *value);
  return otherwise;
}

int64_t JsonFields::Bytes(const char* key, int64_t otherwise, bool needed) {
  const auto* const value = Find(key, needed);
  if (value == nullptr) return otherwise;
  if (value->is_string()) {
    const auto bytes = ParseBytes(value->get_ref<const std::string&>());
    if (bytes.ok()) return *bytes;
  }
  Fail(key, "a size as in \"8GiB\"", *value);
  return otherwise;
}

double JsonFields::Seconds(const char* key, double otherwise) {
  const auto* const value = Find(key, false);
  if (value == nullptr) return otherwise;
  if (value->is_string()) {
    const auto duration = ParseDuration(value->get_ref<const std::string&>());
    if (duration.ok()) return evenkeel::Seconds(*duration);
  }
  Fail(key, "a time as in \"2ms\"", *value);
  return otherwise;
}

const nlohmann::json* JsonFields::List(const char* key, bool needed) {
  const auto* const value = Find(key, needed);
  if (value == nullptr || value->is_array()) return value;
  Fail(key, "a list", *value);
  return nullptr;
}

}  // namespace evenkeel
