#include "llm/wire/prompt_messages.h"

#include <nlohmann/json.hpp>
#include <utility>

#include "core/format.h"

namespace evenkeel {
namespace {

using nlohmann::json;

std::string Dump(const json& message) {
  return message.dump(-1, ' ', false, json::error_handler_t::replace);
}

// What is said of any of the fields being missing or of another type.
template <typename Build>
auto Parse(std::string_view message, std::string_view what, Build build)
    -> decltype(build(std::declval<const json&>())) {
  const json parsed = json::parse(message, nullptr, /*allow_exceptions=*/false);
  if (!parsed.is_object()) return Internal("a message '{}' that is no JSON object", what);
  try {
    return build(parsed);
  } catch (const json::exception& e) {
    return Internal("a message '{}' that breaks its rules: {}", what, e.what());
  }
}

// A whole number that T has; get<T>() would make something of any number.
template <typename T>
T Whole(const json& value) {
  const bool fits = value.is_number_unsigned()
                        ? std::in_range<T>(value.get<uint64_t>())
                        : value.is_number_integer() && std::in_range<T>(value.get<int64_t>());
  if (!fits) throw json::other_error::create(599, "expected a whole number in range", nullptr);
  return value.is_number_unsigned() ? static_cast<T>(value.get<uint64_t>())
                                    : static_cast<T>(value.get<int64_t>());
}

template <typename T>
std::vector<T> WholeList(const json& values) {
  if (!values.is_array()) throw json::other_error::create(599, "expected a list", nullptr);
  std::vector<T> list;
  list.reserve(values.size());
  for (const json& value : values) list.push_back(Whole<T>(value));
  return list;
}

AnswerGrammar GrammarOf(const json& message) {
  AnswerGrammar grammar;
  const auto kind = Whole<int>(message.at("kind"));
  if (kind < 0 || kind > static_cast<int>(AnswerGrammar::Kind::kTools))
    throw json::other_error::create(599, "kind", nullptr);
  grammar.kind = static_cast<AnswerGrammar::Kind>(kind);
  grammar.gbnf = message.at("gbnf").get<std::string>();
  grammar.lazy = message.at("lazy").get<bool>();
  for (const json& trigger : message.at("triggers")) {
    AnswerGrammar::Trigger made;
    const auto trigger_kind = Whole<int>(trigger.at("kind"));
    if (trigger_kind < 0 || trigger_kind > 3) throw json::other_error::create(599, "kind", nullptr);
    made.kind = static_cast<uint8_t>(trigger_kind);
    made.text = trigger.at("text").get<std::string>();
    made.token = Whole<int32_t>(trigger.at("token"));
    grammar.triggers.push_back(std::move(made));
  }
  grammar.preserved = WholeList<int32_t>(message.at("preserved"));
  grammar.begun = message.at("begun").get<std::string>();
  return grammar;
}

}  // namespace

std::string EncodePrepare(uint64_t id, const GenerationRequest& request) {
  json message = {{"id", id}};
  if (!request.chat.empty()) {
    message["chat"] = request.chat;
  } else if (!request.tokens.empty()) {
    message["tokens"] = request.tokens;
  } else {
    message["prompt"] = request.prompt;
  }
  if (!request.json_schema.empty()) message["json_schema"] = request.json_schema;
  if (!request.grammar.empty()) message["grammar"] = request.grammar;
  return Dump(message);
}

std::string EncodeTexts(uint64_t id, const TextsToTokenise& texts) {
  json message = {
      {"id", id}, {"texts", texts.texts}, {"limit", texts.limit}, {"truncate", texts.truncate}};
  if (texts.query) message["query"] = *texts.query;
  return Dump(message);
}

std::string EncodeParse(uint64_t id, const std::string& parser, const std::string& text,
                        bool partial) {
  return Dump({{"id", id}, {"parser", parser}, {"text", text}, {"partial", partial}});
}

Result<PreparedPrompt> DecodePrepared(std::string_view message) {
  return Parse(message, "prepared", [](const json& parsed) -> Result<PreparedPrompt> {
    PreparedPrompt prompt;
    prompt.id = Whole<uint64_t>(parsed.at("id"));
    prompt.tokens = WholeList<int32_t>(parsed.at("tokens"));
    prompt.stop = parsed.at("stop").get<std::vector<std::string>>();
    prompt.parser = parsed.at("parser").get<std::string>();
    prompt.grammar = GrammarOf(parsed.at("grammar"));
    return prompt;
  });
}

Result<ParsedAnswer> DecodeParsed(std::string_view message) {
  return Parse(message, "parsed", [](const json& parsed) -> Result<ParsedAnswer> {
    ParsedAnswer answer;
    answer.id = Whole<uint64_t>(parsed.at("id"));
    answer.content = parsed.at("content").get<std::string>();
    answer.reasoning = parsed.at("reasoning").get<std::string>();
    for (const json& call : parsed.at("tool_calls")) {
      answer.tool_calls.push_back({call.at("id").get<std::string>(),
                                   call.at("name").get<std::string>(),
                                   call.at("arguments").get<std::string>()});
    }
    return answer;
  });
}

Result<TokenisedTexts> DecodeTokenised(std::string_view message) {
  return Parse(message, "tokenised", [](const json& parsed) -> Result<TokenisedTexts> {
    TokenisedTexts texts;
    texts.id = Whole<uint64_t>(parsed.at("id"));
    if (!parsed.at("rows").is_array()) return Internal("a message 'tokenised' without rows");
    for (const json& row : parsed.at("rows")) texts.rows.push_back(WholeList<int32_t>(row));
    texts.sizes = WholeList<int64_t>(parsed.at("sizes"));
    if (texts.sizes.size() != texts.rows.size())
      return Internal("a message 'tokenised' of {} texts with {} sizes", texts.rows.size(),
                      texts.sizes.size());
    return texts;
  });
}

Result<PromptFailure> DecodePromptFailure(std::string_view message) {
  return Parse(message, "failed", [](const json& parsed) -> Result<PromptFailure> {
    PromptFailure failure;
    failure.id = Whole<uint64_t>(parsed.at("id"));
    const int code = Whole<int>(parsed.at("code"));
    auto text = parsed.at("message").get<std::string>();
    text.resize(std::min<size_t>(text.size(), 1000));
    for (char& c : text) {
      if (c < 0x20 || c > 0x7e) c = c == '\n' ? ' ' : '?';
    }
    const bool known = code > 0 && code < kCodeCount;
    failure.status = Status(known ? static_cast<Code>(code) : Code::kInternal, std::move(text));
    return failure;
  });
}

}  // namespace evenkeel
