#include "figures.h"

#include <fmt/format.h>

#include <nlohmann/json.hpp>

namespace evenkeel {

using Json = nlohmann::ordered_json;

std::string TextAt(const Json& object, const std::string& key) {
  if (!object.is_object() || !object.contains(key)) return {};
  const Json& value = object[key];
  if (value.is_string()) return value.get<std::string>();
  return value.is_number() || value.is_boolean() ? value.dump() : std::string();
}

std::string MillisecondsAt(const Json& object, const std::string& key) {
  if (!object.is_object() || !object.contains(key) || !object[key].is_number()) return {};
  return HumanMilliseconds(object[key].get<double>());
}

std::string HumanMilliseconds(double ms) {
  if (ms >= 1e3) return fmt::format("{:.3g} s", ms / 1e3);
  return ms < 0.1 ? fmt::format("{:.3g} µs", ms * 1e3) : fmt::format("{:.3g} ms", ms);
}

std::string BytesAt(const Json& object, const std::string& key) {
  if (!object.is_object() || !object.contains(key) || !object[key].is_number()) return {};
  return HumanBytes(object[key].get<double>());
}

Json ModelNamed(const Json& described, const std::string& name, const std::string& version) {
  if (described.is_object() && described.contains("models") && described["models"].is_array()) {
    for (const Json& model : described["models"]) {
      if (TextAt(model, "name") == name && (version.empty() || TextAt(model, "version") == version))
        return model;
    }
  }
  return Json::object();
}

}  // namespace evenkeel
