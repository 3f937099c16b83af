#include "engines/llamacpp/prompt_maker.h"

#include <chat.h>
#include <json-schema-to-grammar.h>
#include <llama.h>
#include <sampling.h>

#include <algorithm>
#include <exception>
#include <nlohmann/json.hpp>
#include <regex>
#include <utility>

#include "core/format.h"
#include "engines/llamacpp/plain_tools.h"
#include "llm/wire/messages.h"

namespace evenkeel {
namespace {

using Json = nlohmann::json;

constexpr size_t kLongestGrammar = size_t{1} << 20;

struct Prompt {
  std::vector<llama_token> tokens;
  AnswerGrammar grammar;
  std::vector<std::string> stop;
  std::string parser;
};

// llama.cpp takes a pattern that is none for one that allows everything.
void CheckPatterns(const Json& schema) {
  for (const auto& [key, value] : schema.items()) {
    if (value.is_structured()) CheckPatterns(value);
    if (!schema.is_object() || key != "pattern" || !value.is_string()) continue;
    const auto text = value.get<std::string>();
    try {
      const std::regex compiled(text);
    } catch (const std::regex_error& e) {
      if (e.code() == std::regex_constants::error_space) continue;  // large, but a pattern
      throw std::invalid_argument(fmt::format(
          "the schema's pattern '{:.100}' is no regular expression: {}", text, e.what()));
    }
  }
}

// "{}" asks for any object.
common_json SchemaOf(const std::string& text) {
  CheckPatterns(Json::parse(text));
  common_json schema = common_json::parse(text);
  if (schema.is_object() && schema.empty()) schema["type"] = "object";
  return schema;
}

// `tool_choice` as a word, or as an object that names a function: then the other tools are left out.
common_chat_tool_choice ChoiceOf(const common_json& chat, std::vector<common_chat_tool>* tools) {
  if (!chat.contains("tool_choice") || chat.at("tool_choice").is_null())
    return COMMON_CHAT_TOOL_CHOICE_AUTO;
  const common_json& choice = chat.at("tool_choice");
  if (choice.is_string()) return common_chat_tool_choice_parse_oaicompat(choice.get<std::string>());
  const auto name = choice.at("function").at("name").get<std::string>();
  std::erase_if(*tools, [&](const common_chat_tool& tool) { return tool.name != name; });
  if (tools->empty()) throw std::invalid_argument("tool_choice names no tool of the request");
  return COMMON_CHAT_TOOL_CHOICE_REQUIRED;
}

common_chat_templates_inputs InputsOf(const Json& message) {
  const common_json chat = common_json::parse(message.at("chat").get<std::string>());
  common_chat_templates_inputs inputs;
  inputs.messages = common_chat_msgs_parse_oaicompat(chat.at("messages"));
  if (chat.contains("tools") && !chat.at("tools").is_null()) {
    inputs.tools = common_chat_tools_parse_oaicompat(chat.at("tools"));
    for (const common_chat_tool& tool : inputs.tools)
      if (!tool.parameters.empty()) CheckPatterns(Json::parse(tool.parameters));
  }
  inputs.tool_choice = ChoiceOf(chat, &inputs.tools);
  inputs.parallel_tool_calls =
      chat.contains("parallel_tool_calls") && chat.at("parallel_tool_calls").get<bool>();
  inputs.reasoning_format = COMMON_REASONING_FORMAT_DEEPSEEK;
  if (message.contains("json_schema")) {
    inputs.json_schema = SchemaOf(message.at("json_schema").get<std::string>()).dump();
  }
  return inputs;
}

void TakeTriggers(const common_chat_params& chat, const llama_vocab* vocab,
                  AnswerGrammar* grammar) {
  for (const std::string& text : chat.preserved_tokens) {
    const auto tokens = common_tokenize(vocab, text, false, true);
    if (tokens.size() == 1) grammar->preserved.push_back(tokens[0]);
  }
  for (const common_grammar_trigger& trigger : chat.grammar_triggers) {
    AnswerGrammar::Trigger made{static_cast<uint8_t>(trigger.type), trigger.value, trigger.token};
    if (trigger.type == COMMON_GRAMMAR_TRIGGER_TYPE_WORD) {
      const auto tokens = common_tokenize(vocab, trigger.value, false, true);
      const bool one = tokens.size() == 1 &&
                       std::ranges::find(grammar->preserved, tokens[0]) != grammar->preserved.end();
      if (one) {
        made.kind = COMMON_GRAMMAR_TRIGGER_TYPE_TOKEN;
        made.token = tokens[0];
      }
    }
    grammar->triggers.push_back(std::move(made));
  }
}

// The template knows nothing of tools: they are put into plain words, and a call is JSON. With a schema an answer is a call or keeps to it.
Prompt WithPlainTools(const common_chat_templates* templates, const llama_vocab* vocab,
                      common_chat_templates_inputs inputs) {
  const PlainTools tools(inputs.tools);
  common_chat_msg words;
  words.role = "system";
  words.content = tools.Words();
  if (!inputs.messages.empty() && inputs.messages.front().role == "system") {
    inputs.messages.front().content += "\n\n" + words.content;
  } else {
    inputs.messages.insert(inputs.messages.begin(), words);
  }
  inputs.tools.clear();
  const std::string schema = std::exchange(inputs.json_schema, {});
  const bool must = inputs.tool_choice == COMMON_CHAT_TOOL_CHOICE_REQUIRED;
  inputs.tool_choice = COMMON_CHAT_TOOL_CHOICE_NONE;
  const common_chat_params chat = common_chat_templates_apply(templates, inputs);
  Prompt prompt;
  prompt.tokens = common_tokenize(vocab, chat.prompt, true, true);
  prompt.stop = chat.additional_stops;
  if (must || !schema.empty()) {
    prompt.grammar.kind = AnswerGrammar::Kind::kUser;
    prompt.grammar.gbnf =
        json_schema_to_grammar(common_json::parse(tools.Schema(must ? "" : schema)));
  }
  prompt.parser = tools.Parser();
  return prompt;
}

Prompt FromChat(const common_chat_templates* templates, const llama_vocab* vocab,
                const Json& message) {
  const common_chat_templates_inputs inputs = InputsOf(message);
  const bool tools = !inputs.tools.empty() && inputs.tool_choice != COMMON_CHAT_TOOL_CHOICE_NONE;
  const auto abilities = common_chat_templates_get_caps(templates);
  const auto can = [&](const char* what) {
    const auto at = abilities.find(what);
    return at != abilities.end() && at->second;
  };
  if (tools && !can("supports_tools")) return WithPlainTools(templates, vocab, inputs);
  const common_chat_params chat = common_chat_templates_apply(templates, inputs);
  Prompt prompt;
  prompt.tokens = common_tokenize(vocab, chat.prompt, true, true);
  prompt.stop = chat.additional_stops;
  const bool parts = !chat.parser.empty() && (tools || chat.supports_thinking);
  if (!inputs.json_schema.empty() && !parts) {
    // The template's own grammar would allow a fence around the JSON, and want it taken off.
    prompt.grammar.kind = AnswerGrammar::Kind::kUser;
    prompt.grammar.gbnf = json_schema_to_grammar(common_json::parse(inputs.json_schema));
    return prompt;
  }
  if (!chat.grammar.empty()) {
    prompt.grammar.kind = tools ? AnswerGrammar::Kind::kTools : AnswerGrammar::Kind::kFormat;
    prompt.grammar.gbnf = chat.grammar;
    prompt.grammar.lazy = chat.grammar_lazy;
  }
  prompt.grammar.begun = chat.generation_prompt;
  TakeTriggers(chat, vocab, &prompt.grammar);
  if (parts) {
    const Json parser = {{"format", static_cast<int>(chat.format)},
                         {"begun", chat.generation_prompt},
                         {"peg", chat.parser}};
    prompt.parser = parser.dump(-1, ' ', false, Json::error_handler_t::replace);
  }
  return prompt;
}

Json ToJson(const AnswerGrammar& grammar) {
  Json triggers = Json::array();
  for (const auto& trigger : grammar.triggers) {
    triggers.push_back({{"kind", trigger.kind}, {"text", trigger.text}, {"token", trigger.token}});
  }
  return {{"kind", static_cast<int>(grammar.kind)},
          {"gbnf", grammar.gbnf},
          {"lazy", grammar.lazy},
          {"triggers", std::move(triggers)},
          {"preserved", grammar.preserved},
          {"begun", grammar.begun}};
}

// The worker compiles it again: what kills this process must not get that far.
Status TryGrammar(const LlamaModel& model, const AnswerGrammar& grammar) {
  if (grammar.gbnf.size() > kLongestGrammar)
    return InvalidArgument("the grammar has {} bytes, at most {} are compiled", grammar.gbnf.size(),
                           kLongestGrammar);
  llama_sampler* sampler = llama_sampler_init_grammar(model.vocab(), grammar.gbnf.c_str(), "root");
  if (sampler == nullptr) return InvalidArgument("the grammar does not compile");
  const std::unique_ptr<llama_sampler, decltype(&llama_sampler_free)> freed(sampler,
                                                                            &llama_sampler_free);
  // The first token, as the worker draws it: what expands without end within it does so here. Deeper ways are bounded there.
  std::vector<llama_token_data> candidates;
  for (llama_token token = 0; token < model.vocabulary(); ++token)
    candidates.push_back({token, 0, 0});
  llama_token_data_array array = {candidates.data(), candidates.size(), -1, false};
  llama_sampler_apply(sampler, &array);
  return Status::Ok();
}

std::string Dump(const Json& message) {
  return message.dump(-1, ' ', false, Json::error_handler_t::replace);
}

}  // namespace

PromptMaker::PromptMaker(const LlamaModel& model, const std::string& without_chat)
    : model_(model), tokeniser_(model) {
  if (llama_model_chat_template(model.model(), nullptr) == nullptr) {
    template_problem_ = "the model has no chat template";
    return;
  }
  if (!without_chat.empty()) {
    template_problem_ = fmt::format("the model's chat template is not used: {}", without_chat);
    return;
  }
  try {
    templates_ = common_chat_templates_init(model.model(), "").release();
  } catch (const std::exception& e) {
    template_problem_ = fmt::format("the model's chat template is none: {}", e.what());
  }
}

PromptMaker::~PromptMaker() {
  if (templates_ != nullptr) common_chat_templates_free(templates_);
}

Result<std::string> PromptMaker::Prepare(const std::string& text) const {
  try {
    const Json message = Json::parse(text);
    Prompt prompt;
    if (message.contains("chat")) {
      if (templates_ == nullptr) return Unsupported("{}", template_problem_);
      prompt = FromChat(templates_, model_.vocab(), message);
    } else if (message.contains("tokens")) {
      prompt.tokens = message.at("tokens").get<std::vector<llama_token>>();
    } else {
      prompt.tokens =
          common_tokenize(model_.vocab(), message.at("prompt").get<std::string>(), true, true);
    }
    if (message.contains("grammar")) {
      prompt.grammar.kind = AnswerGrammar::Kind::kUser;
      prompt.grammar.gbnf = message.at("grammar").get<std::string>();
    } else if (message.contains("json_schema") && !message.contains("chat")) {
      prompt.grammar.kind = AnswerGrammar::Kind::kUser;
      prompt.grammar.gbnf =
          json_schema_to_grammar(SchemaOf(message.at("json_schema").get<std::string>()));
    }
    if (!prompt.grammar.gbnf.empty()) EK_RETURN_IF_ERROR(TryGrammar(model_, prompt.grammar));
    return Dump({{"id", message.at("id")},
                 {"tokens", prompt.tokens},
                 {"grammar", ToJson(prompt.grammar)},
                 {"stop", prompt.stop},
                 {"parser", prompt.parser}});
  } catch (const std::exception& e) {
    return InvalidArgument("{}", e.what());
  }
}

Result<std::string> PromptMaker::Tokenise(const std::string& message) const {
  try {
    return tokeniser_.Tokenise(message);
  } catch (const std::exception& e) {
    return InvalidArgument("{}", e.what());
  }
}

Result<std::string> PromptMaker::Parse(const std::string& text) const {
  try {
    const Json message = Json::parse(text);
    const Json parser = Json::parse(message.at("parser").get<std::string>());
    if (parser.contains("plain_tools")) {
      return ParsePlainTools(parser, message.at("id"), message.at("text").get<std::string>(),
                             message.at("partial").get<bool>());
    }
    common_chat_parser_params params;
    params.format = static_cast<common_chat_format>(parser.at("format").get<int>());
    params.reasoning_format = COMMON_REASONING_FORMAT_DEEPSEEK;
    params.generation_prompt = parser.at("begun").get<std::string>();
    params.parser.load(parser.at("peg").get<std::string>());
    const common_chat_msg parsed = common_chat_parse(message.at("text").get<std::string>(),
                                                     message.at("partial").get<bool>(), params);
    Json calls = Json::array();
    for (const common_chat_tool_call& call : parsed.tool_calls)
      calls.push_back({{"id", call.id}, {"name", call.name}, {"arguments", call.arguments}});
    return Dump({{"id", message.at("id")},
                 {"content", parsed.content},
                 {"reasoning", parsed.reasoning_content},
                 {"tool_calls", std::move(calls)}});
  } catch (const std::exception& e) {
    return InvalidArgument("{}", e.what());
  }
}

}  // namespace evenkeel
