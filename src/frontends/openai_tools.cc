#include "frontends/openai_tools.h"

#include <algorithm>

#include "frontends/openai_sampling.h"

namespace evenkeel {
namespace {

constexpr size_t kMaxFunctionName = 64;
constexpr size_t kMaxDescription = 64 * 1024;

bool IsFunctionName(std::string_view name) {
  return !name.empty() && name.size() <= kMaxFunctionName && std::ranges::all_of(name, [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' ||
           c == '-';
  });
}

// A required name of a function or schema.
ApiError ReadName(const JsonObject& object, const std::string& path, std::string_view* out) {
  JsonElement value;
  const std::string name_path = JsonPath(path, "name");
  if (object["name"].get(value) != simdjson::SUCCESS) return BadField(name_path, "is missing");
  EK_RETURN_IF_API_ERROR(ReadText(value, name_path, 1024, out));
  if (IsFunctionName(*out)) return {};
  return BadField(name_path, "expected 1 to {} letters, digits, '_' or '-'", kMaxFunctionName);
}

// A schema: an object whose keys are unique all the way down, of a size that can be looked at.
ApiError ReadSchema(const JsonElement& value, const std::string& path, std::string* text) {
  JsonObject object;
  EK_RETURN_IF_API_ERROR(ReadObject(value, path, &object));
  const Status keys = CheckJsonKeysBelow(value);
  if (!keys.ok()) return {keys.Annotate(fmt::format("'{}'", path)), path, ""};
  *text = simdjson::minify(value);
  if (text->size() > kMaxSchemaBytes)
    return BadField(path, "expected a schema of at most {} bytes, got {}", kMaxSchemaBytes,
                    text->size());
  return {};
}

ApiError CheckType(const JsonObject& object, const std::string& path) {
  JsonElement value;
  const std::string type_path = JsonPath(path, "type");
  if (object["type"].get(value) != simdjson::SUCCESS) return BadField(type_path, "is missing");
  std::string_view type;
  EK_RETURN_IF_API_ERROR(ReadText(value, type_path, 64, &type));
  if (type == "function") return {};
  return UnsupportedField(type_path, "expected 'function', got '{}'", type);
}

ApiError CheckOptional(const JsonObject& object, const std::string& path) {
  JsonElement value;
  if (object["description"].get(value) == simdjson::SUCCESS && !value.is_null()) {
    std::string_view text;
    EK_RETURN_IF_API_ERROR(ReadText(value, JsonPath(path, "description"), kMaxDescription, &text));
  }
  if (object["strict"].get(value) == simdjson::SUCCESS && !value.is_null()) {
    bool strict = false;
    EK_RETURN_IF_API_ERROR(ReadBool(value, JsonPath(path, "strict"), &strict));
  }
  return {};
}

ApiError ReadTool(const JsonElement& value, const std::string& path, ChatTools* out) {
  JsonObject tool, function;
  EK_RETURN_IF_API_ERROR(ReadObject(value, path, &tool));
  EK_RETURN_IF_API_ERROR(CheckType(tool, path));
  JsonElement element;
  const std::string function_path = JsonPath(path, "function");
  if (tool["function"].get(element) != simdjson::SUCCESS)
    return BadField(function_path, "is missing");
  EK_RETURN_IF_API_ERROR(ReadObject(element, function_path, &function));
  std::string_view name;
  EK_RETURN_IF_API_ERROR(ReadName(function, function_path, &name));
  EK_RETURN_IF_API_ERROR(CheckOptional(function, function_path));
  if (function["parameters"].get(element) == simdjson::SUCCESS && !element.is_null()) {
    std::string schema;
    EK_RETURN_IF_API_ERROR(ReadSchema(element, JsonPath(function_path, "parameters"), &schema));
  }
  if (std::ranges::find(out->names, name) != out->names.end())
    return BadField(JsonPath(function_path, "name"), "'{}' is given twice", name);
  out->names.emplace_back(name);
  return {};
}

}  // namespace

ApiError ReadTools(const JsonElement& value, const std::string& path, ChatTools* out) {
  JsonArray tools;
  EK_RETURN_IF_API_ERROR(ReadArray(value, path, 0, kMaxTools, &tools));
  size_t i = 0;
  for (const JsonElement tool : tools)
    EK_RETURN_IF_API_ERROR(ReadTool(tool, JsonPath(path, i++), out));
  if (i > 0) out->tools = simdjson::minify(value);
  return {};
}

ApiError ReadToolChoice(const JsonElement& value, const std::string& path, ChatTools* out) {
  std::string_view word;
  if (value.get_string().get(word) == simdjson::SUCCESS) {
    if (word != "none" && word != "auto" && word != "required")
      return BadField(path, "expected none, auto, required or a function, got '{}'",
                      word.substr(0, 64));
    out->choice = fmt::format("\"{}\"", word);
    return {};
  }
  if (!value.is_object())
    return BadField(path, "expected none, auto, required or a function, got {}", Describe(value));
  JsonObject object, function;
  EK_RETURN_IF_API_ERROR(ReadObject(value, path, &object));
  EK_RETURN_IF_API_ERROR(CheckType(object, path));
  JsonElement element;
  const std::string function_path = JsonPath(path, "function");
  if (object["function"].get(element) != simdjson::SUCCESS)
    return BadField(function_path, "is missing");
  EK_RETURN_IF_API_ERROR(ReadObject(element, function_path, &function));
  std::string_view name;
  EK_RETURN_IF_API_ERROR(ReadName(function, function_path, &name));
  out->chosen = name;
  out->choice = fmt::format(R"({{"type":"function","function":{{"name":"{}"}}}})", name);
  return {};
}

ApiError CheckToolChoice(const ChatTools& tools) {
  if (!tools.chosen.empty() && std::ranges::find(tools.names, tools.chosen) == tools.names.end())
    return BadField("tool_choice", "there is no tool named '{}'", tools.chosen);
  if (tools.choice == "\"required\"" && tools.names.empty())
    return BadField("tool_choice", "'required' needs tools");
  return {};
}

ApiError ReadResponseFormat(const JsonElement& value, const std::string& path,
                            GenerationRequest* out) {
  JsonObject object, inner;
  EK_RETURN_IF_API_ERROR(ReadObject(value, path, &object));
  JsonElement element;
  const std::string type_path = JsonPath(path, "type");
  if (object["type"].get(element) != simdjson::SUCCESS) return BadField(type_path, "is missing");
  std::string_view type;
  EK_RETURN_IF_API_ERROR(ReadText(element, type_path, 64, &type));
  if (type == "text") return {};
  if (type == "json_object") {
    out->json_schema = "{}";
    return {};
  }
  if (type != "json_schema")
    return BadField(type_path, "expected text, json_object or json_schema, got '{}'", type);
  const std::string inner_path = JsonPath(path, "json_schema");
  if (object["json_schema"].get(element) != simdjson::SUCCESS)
    return BadField(inner_path, "is missing");
  EK_RETURN_IF_API_ERROR(ReadObject(element, inner_path, &inner));
  std::string_view name;
  EK_RETURN_IF_API_ERROR(ReadName(inner, inner_path, &name));
  EK_RETURN_IF_API_ERROR(CheckOptional(inner, inner_path));
  out->json_schema = "{}";
  if (inner["schema"].get(element) != simdjson::SUCCESS || element.is_null()) return {};
  return ReadSchema(element, JsonPath(inner_path, "schema"), &out->json_schema);
}

}  // namespace evenkeel
