#include "frontends/openai_messages.h"

#include <algorithm>
#include <optional>

#include "net/http_message.h"

namespace evenkeel {
namespace {

constexpr size_t kMaxText = size_t{64} << 20;  // the body's limit is the one that counts
constexpr size_t kMaxName = 256;

struct Message {
  std::string_view role;
  std::optional<JsonElement> content, tool_calls;
  std::optional<std::string_view> name, reasoning, refusal, tool_call_id;
};

ApiError ReadRole(const JsonElement& value, const std::string& path, Message* out) {
  EK_RETURN_IF_API_ERROR(ReadText(value, path, kMaxName, &out->role));
  if (out->role == "function")
    return UnsupportedField(path, "the role 'function' is not supported, use 'tool'");
  for (const std::string_view known : {"system", "developer", "user", "assistant", "tool"}) {
    if (out->role == known) return {};
  }
  return BadField(path, "expected system, developer, user, assistant or tool, got '{}'",
                  out->role.substr(0, 64));
}

template <std::optional<std::string_view> Message::*member, size_t limit>
ApiError ReadOptionalText(const JsonElement& value, const std::string& path, Message* out) {
  std::string_view text;
  EK_RETURN_IF_API_ERROR(ReadText(value, path, limit, &text));
  out->*member = text;
  return {};
}

constexpr JsonField<Message> kMessageFields[] = {
    {"role", ReadRole},
    {"content",
     [](const JsonElement& v, const std::string&, Message* m) {
       m->content = v;
       return ApiError();
     }},
    {"name", ReadOptionalText<&Message::name, kMaxName>},
    {"reasoning_content", ReadOptionalText<&Message::reasoning, kMaxText>},
    {"refusal", ReadOptionalText<&Message::refusal, kMaxText>},
    {"tool_call_id", ReadOptionalText<&Message::tool_call_id, kMaxName>},
    {"tool_calls",
     [](const JsonElement& v, const std::string&, Message* m) {
       m->tool_calls = v;
       return ApiError();
     }},
    {"function_call",
     [](const JsonElement&, const std::string& path, Message*) {
       return UnsupportedField(path, "is not supported, use tool_calls");
     }},
    {"audio",
     [](const JsonElement&, const std::string& path, Message*) {
       return UnsupportedField(path, "sound is not supported: models here read text");
     }},
};

// One part of a message in parts: its text.
ApiError ReadPart(const JsonElement& value, const std::string& path, std::string_view role,
                  std::string_view* text) {
  JsonObject part;
  EK_RETURN_IF_API_ERROR(ReadObject(value, path, &part));
  JsonElement type;
  if (part["type"].get(type) != simdjson::SUCCESS)
    return BadField(JsonPath(path, "type"), "is missing");
  std::string_view name;
  EK_RETURN_IF_API_ERROR(ReadText(type, JsonPath(path, "type"), kMaxName, &name));
  if (name == "image_url" || name == "input_image" || name == "input_audio" || name == "file")
    return UnsupportedField(path, "parts of type '{}' are not supported: models here read text",
                            name);
  if (name != "text" && !(name == "refusal" && role == "assistant"))
    return BadField(JsonPath(path, "type"), "expected 'text', got '{}'", name.substr(0, 64));
  JsonElement content;
  const std::string text_path = JsonPath(path, name);
  if (part[name].get(content) != simdjson::SUCCESS) return BadField(text_path, "is missing");
  return ReadText(content, text_path, kMaxText, text);
}

ApiError AppendContent(const JsonElement& value, const std::string& path, std::string_view role,
                       std::string* out) {
  if (value.is_string()) {
    AppendJsonString(std::string_view(value), out);
    return {};
  }
  if (!value.is_array())
    return BadField(path, "expected a string or an array of parts, got {}", Describe(value));
  JsonArray parts;
  EK_RETURN_IF_API_ERROR(ReadArray(value, path, 1, kMaxMessageParts, &parts));
  out->push_back('[');
  size_t i = 0;
  for (const JsonElement part : parts) {
    std::string_view text;
    EK_RETURN_IF_API_ERROR(ReadPart(part, JsonPath(path, i), role, &text));
    out->append(i++ > 0 ? "," : "").append(R"({"type":"text","text":)");
    AppendJsonString(text, out);
    out->push_back('}');
  }
  out->push_back(']');
  return {};
}

struct ToolCall {
  std::string_view id, name, arguments;
};

ApiError ReadToolCall(const JsonElement& value, const std::string& path, ToolCall* out) {
  JsonObject call, function;
  EK_RETURN_IF_API_ERROR(ReadObject(value, path, &call));
  JsonElement field;
  if (call["type"].get(field) == simdjson::SUCCESS) {
    std::string_view type;
    EK_RETURN_IF_API_ERROR(ReadText(field, JsonPath(path, "type"), kMaxName, &type));
    if (type != "function")
      return UnsupportedField(JsonPath(path, "type"), "expected 'function', got '{}'",
                              type.substr(0, 64));
  }
  const std::string function_path = JsonPath(path, "function");
  if (call["id"].get(field) != simdjson::SUCCESS)
    return BadField(JsonPath(path, "id"), "is missing");
  EK_RETURN_IF_API_ERROR(ReadText(field, JsonPath(path, "id"), kMaxName, &out->id));
  if (call["function"].get(field) != simdjson::SUCCESS)
    return BadField(function_path, "is missing");
  EK_RETURN_IF_API_ERROR(ReadObject(field, function_path, &function));
  for (const auto& [key, target, limit] : {std::tuple("name", &out->name, kMaxName),
                                           std::tuple("arguments", &out->arguments, kMaxText)}) {
    const std::string key_path = JsonPath(function_path, key);
    if (function[key].get(field) != simdjson::SUCCESS) return BadField(key_path, "is missing");
    EK_RETURN_IF_API_ERROR(ReadText(field, key_path, limit, target));
  }
  return {};
}

ApiError AppendToolCalls(const JsonElement& value, const std::string& path, std::string* out) {
  JsonArray calls;
  EK_RETURN_IF_API_ERROR(ReadArray(value, path, 1, kMaxToolCalls, &calls));
  out->append(",\"tool_calls\":[");
  size_t i = 0;
  for (const JsonElement each : calls) {
    ToolCall call;
    EK_RETURN_IF_API_ERROR(ReadToolCall(each, JsonPath(path, i), &call));
    out->append(i++ > 0 ? "," : "").append(R"({"id":)");
    AppendJsonString(call.id, out);
    out->append(R"(,"type":"function","function":{"name":)");
    AppendJsonString(call.name, out);
    out->append(",\"arguments\":");
    AppendJsonString(call.arguments, out);
    out->append("}}");
  }
  out->push_back(']');
  return {};
}

// What has to be there, and must not, by the role.
ApiError CheckRole(const Message& message, const std::string& path) {
  if (message.role.empty()) return BadField(JsonPath(path, "role"), "is missing");
  const bool assistant = message.role == "assistant";
  const bool tool = message.role == "tool";
  if (message.tool_calls && !assistant)
    return BadField(JsonPath(path, "tool_calls"), "only an assistant's message has it");
  if (tool != message.tool_call_id.has_value()) {
    return tool ? BadField(JsonPath(path, "tool_call_id"), "is missing")
                : BadField(JsonPath(path, "tool_call_id"), "only a tool's message has it");
  }
  const bool spoken = message.content || message.refusal;
  if (!spoken && !(assistant && message.tool_calls))
    return BadField(JsonPath(path, "content"), "is missing");
  return {};
}

void AppendText(std::string_view key, const std::optional<std::string_view>& text,
                std::string* out) {
  if (!text) return;
  out->append(",\"").append(key).append("\":");
  AppendJsonString(*text, out);
}

ApiError AppendMessage(const JsonElement& value, const std::string& path, std::string* out,
                       std::vector<std::string>* unknown) {
  JsonObject object;
  EK_RETURN_IF_API_ERROR(ReadObject(value, path, &object));
  Message message;
  EK_RETURN_IF_API_ERROR(ReadFields<Message>(object, path, kMessageFields, &message, unknown));
  EK_RETURN_IF_API_ERROR(CheckRole(message, path));
  out->append("{\"role\":");
  AppendJsonString(message.role == "developer" ? "system" : message.role, out);
  out->append(",\"content\":");
  if (message.content) {
    EK_RETURN_IF_API_ERROR(
        AppendContent(*message.content, JsonPath(path, "content"), message.role, out));
  } else if (message.refusal) {
    AppendJsonString(*message.refusal, out);
  } else {
    out->append("null");
  }
  AppendText("name", message.name, out);
  AppendText("reasoning_content", message.reasoning, out);
  AppendText("tool_call_id", message.tool_call_id, out);
  if (message.tool_calls)
    EK_RETURN_IF_API_ERROR(AppendToolCalls(*message.tool_calls, JsonPath(path, "tool_calls"), out));
  out->push_back('}');
  return {};
}

}  // namespace

ApiError ReadMessages(const JsonElement& value, const std::string& path, std::string* out,
                      std::vector<std::string>* unknown) {
  JsonArray messages;
  EK_RETURN_IF_API_ERROR(ReadArray(value, path, 1, kMaxMessages, &messages));
  out->push_back('[');
  size_t i = 0;
  for (const JsonElement message : messages) {
    if (i > 0) out->push_back(',');
    EK_RETURN_IF_API_ERROR(AppendMessage(message, JsonPath(path, i++), out, unknown));
  }
  out->push_back(']');
  return {};
}

}  // namespace evenkeel
