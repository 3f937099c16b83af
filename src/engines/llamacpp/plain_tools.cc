#include "engines/llamacpp/plain_tools.h"

#include <chat.h>

#include <algorithm>

namespace evenkeel {
namespace {

using Json = nlohmann::json;

std::string Dump(const Json& value) {
  return value.dump(-1, ' ', false, Json::error_handler_t::replace);
}

}  // namespace

PlainTools::PlainTools(const std::vector<common_chat_tool>& tools) {
  for (const common_chat_tool& tool : tools) {
    Json parameters = Json::parse(tool.parameters, nullptr, false);
    if (!parameters.is_object() || parameters.empty()) parameters = {{"type", "object"}};
    tools_.push_back({{"name", tool.name},
                      {"description", tool.description},
                      {"parameters", std::move(parameters)}});
  }
}

std::string PlainTools::Words() const {
  std::string words = "These functions can be called:\n";
  for (const Json& tool : tools_) words += Dump(tool) + "\n";
  return words +
         "To call one, answer with a JSON object and nothing else: "
         R"({"name": the function's name, "arguments": an object of its parameters})";
}

std::string PlainTools::Schema() const {
  Json calls = Json::array();
  for (const Json& tool : tools_) {
    calls.push_back(
        {{"type", "object"},
         {"properties", {{"name", {{"const", tool["name"]}}}, {"arguments", tool["parameters"]}}},
         {"required", {"name", "arguments"}},
         {"additionalProperties", false}});
  }
  return Dump(calls.size() == 1 ? calls[0] : Json{{"anyOf", std::move(calls)}});
}

std::string PlainTools::Parser() const {
  Json names = Json::array();
  for (const Json& tool : tools_) names.push_back(tool["name"]);
  return Dump({{"plain_tools", std::move(names)}});
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
