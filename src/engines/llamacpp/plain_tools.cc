#include "engines/llamacpp/plain_tools.h"

#include <chat.h>

#include <algorithm>

namespace evenkeel {
namespace {

using Json = nlohmann::json;
// Of schemas, whose properties come in the order in which they are written.
using Schemas = nlohmann::ordered_json;

template <typename Value>
std::string Dump(const Value& value) {
  return value.dump(-1, ' ', false, Value::error_handler_t::replace);
}

// Every "$ref" within the document becomes one within `place` of a larger document.
void MoveReferences(const std::string& place, Schemas* schema) {
  for (const auto& [key, value] : schema->items()) {
    if (value.is_structured()) MoveReferences(place, &value);
    if (key != "$ref" || !schema->is_object() || !value.is_string()) continue;
    const auto text = value.get<std::string>();
    if (text.starts_with("#")) value = place + text.substr(1);
  }
}

}  // namespace

PlainTools::PlainTools(const std::vector<common_chat_tool>& tools) {
  for (const common_chat_tool& tool : tools) {
    Schemas parameters = Schemas::parse(tool.parameters, nullptr, false);
    if (!parameters.is_object() || parameters.empty()) parameters = {{"type", "object"}};
    tools_.push_back({{"name", tool.name},
                      {"description", tool.description},
                      {"parameters", std::move(parameters)}});
  }
}

std::string PlainTools::Words() const {
  std::string words = "These functions can be called:\n";
  for (const auto& tool : tools_) words += Dump(tool) + "\n";
  return words +
         "To call one, answer with a JSON object and nothing else: "
         R"({"name": the function's name, "arguments": an object of its parameters})";
}

std::string PlainTools::Schema(const std::string& answer) const {
  Schemas definitions = Schemas::object(), kinds = Schemas::array();
  // References in a schema are to itself, which is a part of another now.
  const auto refer_to = [&](Schemas schema, const std::string& name) {
    const std::string place = "#/$defs/" + name;
    MoveReferences(place, &schema);
    definitions[name] = std::move(schema);
    return Schemas{{"$ref", place}};
  };
  for (const auto& tool : tools_) {
    const std::string name = "arguments" + std::to_string(kinds.size());
    kinds.push_back(
        {{"type", "object"},
         {"properties",
          {{"name", {{"const", tool["name"]}}}, {"arguments", refer_to(tool["parameters"], name)}}},
         {"required", {"name", "arguments"}},
         {"additionalProperties", false}});
  }
  if (!answer.empty()) kinds.push_back(refer_to(Schemas::parse(answer), "answer"));
  return Dump(Schemas{{"$defs", std::move(definitions)}, {"anyOf", std::move(kinds)}});
}

std::string PlainTools::Parser() const {
  Json names = Json::array();
  for (const auto& tool : tools_) names.push_back(tool["name"].get<std::string>());
  return Dump(Json{{"plain_tools", std::move(names)}});
}

std::string ParsePlainTools(const Json& parser, const Json& id, const std::string& text,
                            bool partial) {
  Json answer = {{"id", id}, {"content", ""}, {"reasoning", ""}, {"tool_calls", Json::array()}};
  const size_t begin = text.find_first_not_of(" \t\r\n");
  const bool may_be_call = begin == std::string::npos || text[begin] == '{';
  if (!may_be_call) {
    answer["content"] = text;
    return Dump(answer);
  }
  if (partial) return Dump(answer);
  const Json call = Json::parse(text, nullptr, false);
  const Json& names = parser.at("plain_tools");
  const bool is_call = call.is_object() && call.contains("name") && call["name"].is_string() &&
                       std::ranges::find(names, call["name"]) != names.end();
  if (is_call) {
    const Json arguments = call.value("arguments", Json::object());
    answer["tool_calls"].push_back(
        {{"id", ""}, {"name", call["name"]}, {"arguments", Dump(arguments)}});
  } else {
    answer["content"] = text;
  }
  return Dump(answer);
}

}  // namespace evenkeel
