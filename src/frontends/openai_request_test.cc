#include "frontends/openai_request.h"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "frontends/fake_language_model.h"
#include "frontends/openai_messages.h"
#include "frontends/openai_sampling.h"

namespace evenkeel {
namespace {

using nlohmann::json;

const json kHello = {{{"role", "user"}, {"content", "hi"}}};

// A chat request with `fields` added, or put in the place of what it has.
std::string Chat(const json& fields) {
  json request = {{"model", "m"}, {"messages", kHello}};
  if (!fields.is_null()) request.update(fields);
  return request.dump();
}
std::string Completion(const json& fields) {
  json request = {{"model", "m"}, {"prompt", "Once"}};
  if (!fields.is_null()) request.update(fields);
  return request.dump();
}

TextRequest ParsedChat(const json& fields) {
  TextRequest request;
  const ApiError error = ParseChatRequest(Chat(fields), &request);
  EXPECT_TRUE(error.ok()) << error.status.ToString();
  if (request.prompts.empty()) request.prompts.emplace_back();
  return request;
}
TextRequest ParsedCompletion(const json& fields) {
  TextRequest request;
  const ApiError error = ParseCompletionRequest(Completion(fields), &request);
  EXPECT_TRUE(error.ok()) << error.status.ToString();
  if (request.prompts.empty()) request.prompts.emplace_back();
  return request;
}

TEST(OpenAiRequestTest, AChatOfEverythingIsRead) {
  const TextRequest request = ParsedChat({{"stream", true},
                                          {"stream_options", {{"include_usage", true}}},
                                          {"temperature", 0},
                                          {"top_p", 0.5},
                                          {"top_k", 40},
                                          {"min_p", 0.05},
                                          {"frequency_penalty", -2},
                                          {"presence_penalty", 1.5},
                                          {"repeat_penalty", 1.1},
                                          {"seed", 7},
                                          {"n", 3},
                                          {"stop", {"a", "bc"}},
                                          {"logit_bias", {{"5", -100}, {"17", 2.5}}},
                                          {"logprobs", true},
                                          {"top_logprobs", 4},
                                          {"max_completion_tokens", 20},
                                          {"user", "someone"},
                                          {"metadata", {{"a", "b"}}},
                                          {"store", false},
                                          {"service_tier", "auto"},
                                          {"modalities", {"text"}},
                                          {"truncation", "auto"},
                                          {"ignore_eos", true}});
  EXPECT_EQ(request.model, "m");
  EXPECT_TRUE(request.chat && request.stream && request.include_usage);
  EXPECT_TRUE(request.unknown.empty());
  ASSERT_EQ(request.prompts.size(), 1U);
  const GenerationRequest& text = request.prompts[0];
  EXPECT_EQ(json::parse(text.chat), json({{"messages", kHello}}));
  EXPECT_FLOAT_EQ(text.sampling.temperature, 0);
  EXPECT_FLOAT_EQ(text.sampling.top_p, 0.5);
  EXPECT_EQ(text.sampling.top_k, 40);
  EXPECT_FLOAT_EQ(text.sampling.min_p, 0.05F);
  EXPECT_FLOAT_EQ(text.sampling.frequency_penalty, -2);
  EXPECT_FLOAT_EQ(text.sampling.presence_penalty, 1.5);
  EXPECT_FLOAT_EQ(text.sampling.repeat_penalty, 1.1F);
  EXPECT_EQ(text.sampling.seed, 7U);
  EXPECT_EQ(text.choices, 3);
  EXPECT_EQ(text.stop, (std::vector<std::string>{"a", "bc"}));
  ASSERT_EQ(text.sampling.logit_bias.size(), 2U);
  EXPECT_EQ(text.top_logprobs, 4);
  EXPECT_EQ(text.max_tokens, 20);
  EXPECT_TRUE(text.truncate && text.ignore_eos);
  EXPECT_TRUE(text.json_schema.empty() && text.grammar.empty());
}

TEST(OpenAiRequestTest, LittleIsNeededAndNullIsAbsent) {
  const TextRequest request = ParsedChat({{"temperature", nullptr},
                                          {"stop", nullptr},
                                          {"n", nullptr},
                                          {"tools", nullptr},
                                          {"stream_options", nullptr},
                                          {"response_format", nullptr},
                                          {"reasoning_effort", nullptr},
                                          {"functions", nullptr}});
  const GenerationRequest& text = request.prompts[0];
  EXPECT_FALSE(request.stream);
  EXPECT_FLOAT_EQ(text.sampling.temperature, 1);
  EXPECT_EQ(text.choices, 1);
  EXPECT_EQ(text.max_tokens, 0);
  EXPECT_EQ(text.top_logprobs, -1);
  EXPECT_FALSE(text.sampling.seed.has_value());
}

TEST(OpenAiRequestTest, UnknownFieldsAreRememberedAndHarmless) {
  const TextRequest request =
      ParsedChat({{"frobnicate", {{"deep", {1, 2}}}},
                  {"messages", {{{"role", "user"}, {"content", "hi"}, {"mood", "good"}}}},
                  {"stream", true},
                  {"stream_options", {{"colour", "red"}}}});
  EXPECT_EQ(request.unknown,
            (std::vector<std::string>{"frobnicate", "stream_options.colour", "messages[0].mood"}));
}

TEST(OpenAiRequestTest, MessagesOfEveryKindAreWrittenAnew) {
  const json messages = {
      {{"role", "developer"}, {"content", "be brief"}},
      {{"role", "user"},
       {"content", {{{"type", "text"}, {"text", "a\n\"b\""}}, {{"type", "text"}, {"text", "ä"}}}},
       {"name", "ann"}},
      {{"role", "assistant"},
       {"content", nullptr},
       {"tool_calls",
        {{{"id", "c1"},
          {"type", "function"},
          {"function", {{"name", "f"}, {"arguments", "{\"x\":1}"}}}}}}},
      {{"role", "tool"}, {"tool_call_id", "c1"}, {"content", "rain"}},
      {{"role", "assistant"}, {"refusal", "no"}},
      {{"role", "assistant"}, {"content", "yes"}, {"reasoning_content", "hm"}},
  };
  json expected = messages;
  expected[0]["role"] = "system";
  expected[4] = {{"role", "assistant"}, {"content", "no"}};
  const TextRequest request = ParsedChat({{"messages", messages}});
  EXPECT_EQ(json::parse(request.prompts[0].chat)["messages"], expected);
}

TEST(OpenAiRequestTest, ToolsAndTheirChoiceGoWithTheChat) {
  const json tools = {
      {{"type", "function"},
       {"function",
        {{"name", "weather"},
         {"description", "of a city"},
         {"parameters", {{"type", "object"}, {"properties", {{"city", {{"type", "string"}}}}}}},
         {"strict", true}}}}};
  const json choice = {{"type", "function"}, {"function", {{"name", "weather"}}}};
  TextRequest request =
      ParsedChat({{"tools", tools}, {"tool_choice", choice}, {"parallel_tool_calls", false}});
  json chat = json::parse(request.prompts[0].chat);
  EXPECT_EQ(chat["tools"], tools);
  EXPECT_EQ(chat["tool_choice"], choice);
  EXPECT_EQ(chat["parallel_tool_calls"], false);
  for (const std::string_view word : {"none", "auto", "required"}) {
    request = ParsedChat({{"tools", tools}, {"tool_choice", word}});
    EXPECT_EQ(json::parse(request.prompts[0].chat)["tool_choice"], word);
  }
  // Without tools there is nothing to choose from.
  request = ParsedChat({{"tools", json::array()}, {"tool_choice", "auto"}});
  EXPECT_EQ(json::parse(request.prompts[0].chat), json({{"messages", kHello}}));
}

TEST(OpenAiRequestTest, ResponseFormats) {
  EXPECT_EQ(ParsedChat({{"response_format", {{"type", "text"}}}}).prompts[0].json_schema, "");
  EXPECT_EQ(ParsedChat({{"response_format", {{"type", "json_object"}}}}).prompts[0].json_schema,
            "{}");
  const json schema = {{"type", "object"}, {"properties", {{"a", {{"type", "integer"}}}}}};
  const TextRequest request = ParsedChat(
      {{"response_format",
        {{"type", "json_schema"}, {"json_schema", {{"name", "s"}, {"schema", schema}}}}}});
  EXPECT_EQ(json::parse(request.prompts[0].json_schema), schema);
}

TEST(OpenAiRequestTest, SeedsOfAnySizeAreTaken) {
  EXPECT_EQ(ParsedChat({{"seed", 0}}).prompts[0].sampling.seed, 0U);
  EXPECT_EQ(ParsedChat({{"seed", 4294967295}}).prompts[0].sampling.seed, 4294967295U);
  EXPECT_TRUE(ParsedChat({{"seed", -1}}).prompts[0].sampling.seed.has_value());
  EXPECT_TRUE(ParsedChat({{"seed", 18446744073709551615U}}).prompts[0].sampling.seed.has_value());
  EXPECT_NE(ParsedChat({{"seed", int64_t{1} << 40}}).prompts[0].sampling.seed, 0U);
}

TEST(OpenAiRequestTest, MaxTokensByBothNames) {
  EXPECT_EQ(ParsedChat({{"max_tokens", 9}}).prompts[0].max_tokens, 9);
  EXPECT_EQ(ParsedChat({{"max_tokens", 9}, {"max_completion_tokens", 9}}).prompts[0].max_tokens, 9);
}

TEST(OpenAiRequestTest, PromptsOfEveryForm) {
  EXPECT_EQ(ParsedCompletion({}).prompts[0].prompt, "Once");
  EXPECT_EQ(ParsedCompletion({}).prompts[0].max_tokens, kDefaultMaxTokens);
  EXPECT_EQ(ParsedCompletion({{"prompt", {1, 2, 3}}}).prompts[0].tokens,
            (std::vector<int32_t>{1, 2, 3}));
  const TextRequest several =
      ParsedCompletion({{"prompt", {"a", "b"}}, {"n", 2}, {"best_of", 2}, {"logprobs", 0}});
  ASSERT_EQ(several.prompts.size(), 2U);
  EXPECT_EQ(several.prompts[1].prompt, "b");
  EXPECT_EQ(several.prompts[1].choices, 2);
  EXPECT_EQ(several.prompts[1].top_logprobs, 0);
  const TextRequest mixed = ParsedCompletion({{"prompt", {"a", {1, 2}}}});
  EXPECT_EQ(mixed.prompts[1].tokens.size(), 2U);
  EXPECT_TRUE(ParsedCompletion({{"echo", true}}).echo);
}

struct BadCase {
  json fields;
  std::string param;    // of the error
  std::string message;  // some of it
};

void PrintTo(const BadCase& bad, std::ostream* out) { *out << bad.fields.dump().substr(0, 200); }

class BadChatTest : public testing::TestWithParam<BadCase> {};

TEST_P(BadChatTest, IsRefusedWithTheFieldsName) {
  TextRequest request;
  const ApiError error = ParseChatRequest(Chat(GetParam().fields), &request);
  ASSERT_FALSE(error.ok());
  EXPECT_EQ(HttpStatusOf(error), 400);
  EXPECT_EQ(error.param, GetParam().param) << error.status.message();
  EXPECT_NE(error.status.message().find(GetParam().message), std::string::npos)
      << error.status.message();
}

json Message(const json& message) { return {{"messages", json::array({message})}}; }
json Said(const json& content) { return Message({{"role", "user"}, {"content", content}}); }
json Function(const json& function) {
  return {{"tools", {{{"type", "function"}, {"function", function}}}}};
}
json Format(const json& format) { return {{"response_format", format}}; }

INSTANTIATE_TEST_SUITE_P(
    Numbers, BadChatTest,
    testing::Values(
        BadCase{
            {{"temperature", -0.1}}, "temperature", "a number from 0 to 2, got the number -0.1"},
        BadCase{{{"temperature", 2.1}}, "temperature", "from 0 to 2"},
        BadCase{{{"temperature", "1"}}, "temperature", "got a string"},
        BadCase{{{"temperature", true}}, "temperature", "got true"},
        BadCase{{{"temperature", 1e300}}, "temperature", "from 0 to 2"},
        BadCase{{{"top_p", 1.01}}, "top_p", "from 0 to 1"},
        BadCase{{{"top_p", -1}}, "top_p", "from 0 to 1"},
        BadCase{{{"top_k", 1.5}}, "top_k", "whole number"},
        BadCase{{{"top_k", -2}}, "top_k", "whole number"},
        BadCase{{{"min_p", 2}}, "min_p", "from 0 to 1"},
        BadCase{{{"frequency_penalty", -2.01}}, "frequency_penalty", "from -2 to 2"},
        BadCase{{{"presence_penalty", 3}}, "presence_penalty", "from -2 to 2"},
        BadCase{{{"repeat_penalty", 0}}, "repeat_penalty", "to 10"},
        BadCase{{{"n", 0}}, "n", "from 1 to 128, got the number 0"},
        BadCase{{{"n", 129}}, "n", "from 1 to 128"}, BadCase{{{"n", 1.0}}, "n", "whole number"},
        BadCase{{{"n", 18446744073709551615U}}, "n", "whole number"},
        BadCase{{{"max_tokens", 0}}, "max_tokens", "whole number from 1"},
        BadCase{{{"max_tokens", -1}}, "max_tokens", "whole number from 1"},
        BadCase{{{"max_tokens", 9007199254740993}}, "max_tokens", "whole number from 1"},
        BadCase{{{"max_completion_tokens", "5"}}, "max_completion_tokens", "whole number"},
        BadCase{{{"max_tokens", 5}, {"max_completion_tokens", 6}}, "max_tokens", "differs"},
        BadCase{{{"seed", 1.5}}, "seed", "whole number"},
        BadCase{{{"seed", "x"}}, "seed", "got a string"},
        BadCase{{{"top_logprobs", 21}, {"logprobs", true}}, "top_logprobs", "from 0 to 20"},
        BadCase{{{"top_logprobs", 2}}, "top_logprobs", "'logprobs': true"},
        BadCase{{{"logprobs", 1}}, "logprobs", "true or false"},
        BadCase{{{"logit_bias", {{"a", 1}}}}, "logit_bias", "token ids as keys"},
        BadCase{{{"logit_bias", {{"-1", 1}}}}, "logit_bias", "token ids as keys"},
        BadCase{{{"logit_bias", {{"99999999999", 1}}}}, "logit_bias", "token ids as keys"},
        BadCase{{{"logit_bias", {{"1", 101}}}}, "logit_bias.1", "from -100 to 100"},
        BadCase{{{"logit_bias", {1, 2}}}, "logit_bias", "expected an object"}));

INSTANTIATE_TEST_SUITE_P(
    Words, BadChatTest,
    testing::Values(
        BadCase{{{"model", nullptr}}, "model", "is missing"},
        BadCase{{{"model", 5}}, "model", "expected a string"},
        BadCase{{{"model", ""}}, "model", "is missing"},
        BadCase{{{"model", std::string(257, 'x')}}, "model", "at most 256 bytes"},
        BadCase{{{"stream", "yes"}}, "stream", "true or false"},
        BadCase{
            {{"stream_options", {{"include_usage", true}}}}, "stream_options", "'stream': true"},
        BadCase{{{"stream", true}, {"stream_options", 1}}, "stream_options", "expected an object"},
        BadCase{{{"stream", true}, {"stream_options", {{"include_usage", 1}}}},
                "stream_options.include_usage",
                "true or false"},
        BadCase{{{"stop", 5}}, "stop", "a string or an array"},
        BadCase{{{"stop", ""}}, "stop", "not empty"},
        BadCase{{{"stop", {"a", 5}}}, "stop[1]", "expected a string"},
        BadCase{{{"stop", std::vector<std::string>(10'000, "a")}}, "stop", "at most 16 items"},
        BadCase{{{"stop", std::string(1025, 'a')}}, "stop", "at most 1024 bytes"},
        BadCase{{{"user", 5}}, "user", "expected a string"},
        BadCase{{{"grammar", std::string(65537, '(')}}, "grammar", "at most 65536 bytes"},
        BadCase{{{"grammar", "root ::= \"a\""}, {"response_format", {{"type", "json_object"}}}},
                "grammar",
                "together"},
        BadCase{{{"truncation", "some"}}, "truncation", "auto"},
        BadCase{{{"metadata", "x"}}, "metadata", "expected an object"},
        BadCase{{{"store", true}}, "store", "not stored"},
        BadCase{{{"modalities", {"text", "audio"}}}, "modalities", "only 'text'"},
        BadCase{{{"service_tier", "flex"}}, "service_tier", "only 'default'"},
        BadCase{{{"reasoning_effort", "high"}}, "reasoning_effort", "not supported"},
        BadCase{{{"audio", json::object()}}, "audio", "not supported"},
        BadCase{{{"prediction", json::object()}}, "prediction", "not supported"},
        BadCase{{{"functions", json::array()}}, "functions", "use 'tools'"},
        BadCase{{{"function_call", "auto"}}, "function_call", "use 'tools'"}));

INSTANTIATE_TEST_SUITE_P(
    Messages, BadChatTest,
    testing::Values(
        BadCase{{{"messages", nullptr}}, "messages", "is missing"},
        BadCase{{{"messages", "hi"}}, "messages", "expected an array"},
        BadCase{{{"messages", json::array()}}, "messages", "at least 1 items, got 0"},
        BadCase{{{"messages", {"hi"}}}, "messages[0]", "expected an object"},
        BadCase{Message({{"content", "hi"}}), "messages[0].role", "is missing"},
        BadCase{Message({{"role", "wizard"}, {"content", "hi"}}), "messages[0].role",
                "got 'wizard'"},
        BadCase{Message({{"role", 5}, {"content", "hi"}}), "messages[0].role", "expected a string"},
        BadCase{Message({{"role", "function"}, {"content", "hi"}}), "messages[0].role",
                "use 'tool'"},
        BadCase{Message({{"role", "user"}}), "messages[0].content", "is missing"},
        BadCase{Message({{"role", "user"}, {"content", nullptr}}), "messages[0].content",
                "is missing"},
        BadCase{Message({{"role", "assistant"}}), "messages[0].content", "is missing"},
        BadCase{Said(5), "messages[0].content", "a string or an array of parts"},
        BadCase{Said(json::array()), "messages[0].content", "at least 1"},
        BadCase{Said({"hi"}), "messages[0].content[0]", "expected an object"},
        BadCase{Said({{{"text", "hi"}}}), "messages[0].content[0].type", "is missing"},
        BadCase{Said({{{"type", "text"}}}), "messages[0].content[0].text", "is missing"},
        BadCase{Said({{{"type", "text"}, {"text", 5}}}), "messages[0].content[0].text", "a string"},
        BadCase{Said({{{"type", "image_url"}, {"image_url", {{"url", "data:"}}}}}),
                "messages[0].content[0]", "models here read text"},
        BadCase{Said({{{"type", "input_audio"}}}), "messages[0].content[0]", "read text"},
        BadCase{Said({{{"type", "file"}}}), "messages[0].content[0]", "read text"},
        BadCase{Said({{{"type", "refusal"}, {"refusal", "no"}}}), "messages[0].content[0].type",
                "expected 'text'"},
        BadCase{Message({{"role", "tool"}, {"content", "x"}}), "messages[0].tool_call_id",
                "is missing"},
        BadCase{Message({{"role", "user"}, {"content", "x"}, {"tool_call_id", "c"}}),
                "messages[0].tool_call_id", "only a tool's"},
        BadCase{Message({{"role", "user"}, {"content", "x"}, {"tool_calls", json::array()}}),
                "messages[0].tool_calls", "only an assistant's"},
        BadCase{Message({{"role", "assistant"}, {"tool_calls", {{{"id", "a"}}}}}),
                "messages[0].tool_calls[0].function", "is missing"},
        BadCase{Message({{"role", "assistant"},
                         {"tool_calls", {{{"id", "a"}, {"function", {{"name", "f"}}}}}}}),
                "messages[0].tool_calls[0].function.arguments", "is missing"},
        BadCase{
            Message({{"role", "assistant"}, {"content", "x"}, {"function_call", json::object()}}),
            "messages[0].function_call", "use tool_calls"}));

INSTANTIATE_TEST_SUITE_P(
    Tools, BadChatTest,
    testing::Values(
        BadCase{{{"tools", json::object()}}, "tools", "expected an array"},
        BadCase{{{"tools", {{{"type", "custom"}}}}}, "tools[0].type", "expected 'function'"},
        BadCase{{{"tools", {{{"type", "function"}}}}}, "tools[0].function", "is missing"},
        BadCase{{{"tools", json::array({json::object()})}}, "tools[0].type", "is missing"},
        BadCase{Function({{"name", "a b"}}), "tools[0].function.name", "letters, digits"},
        BadCase{Function({{"name", ""}}), "tools[0].function.name", "letters, digits"},
        BadCase{Function({{"name", std::string(65, 'a')}}), "tools[0].function.name", "1 to 64"},
        BadCase{Function({{"name", "f"}, {"parameters", 5}}), "tools[0].function.parameters",
                "expected an object"},
        BadCase{Function({{"name", "f"}, {"description", 5}}), "tools[0].function.description",
                "expected a string"},
        BadCase{Function({{"name", "f"}, {"strict", 5}}), "tools[0].function.strict",
                "true or false"},
        BadCase{Function({{"name", "f"}, {"parameters", {{"x", std::string(300'000, 'x')}}}}),
                "tools[0].function.parameters", "at most 262144 bytes"},
        BadCase{{{"tool_choice", "maybe"}}, "tool_choice", "none, auto, required or a function"},
        BadCase{{{"tool_choice", 5}}, "tool_choice", "none, auto, required or a function"},
        BadCase{{{"tool_choice", "required"}}, "tool_choice", "needs tools"},
        BadCase{{{"tool_choice", {{"type", "function"}, {"function", {{"name", "f"}}}}}},
                "tool_choice",
                "no tool named 'f'"},
        BadCase{{{"tool_choice", {{"type", "allowed_tools"}}}},
                "tool_choice.type",
                "expected 'function'"},
        BadCase{{{"parallel_tool_calls", "x"}}, "parallel_tool_calls", "true or false"},
        BadCase{Format("json"), "response_format", "expected an object"},
        BadCase{Format(json::object()), "response_format.type", "is missing"},
        BadCase{Format({{"type", "yaml"}}), "response_format.type", "got 'yaml'"},
        BadCase{Format({{"type", "json_schema"}}), "response_format.json_schema", "is missing"},
        BadCase{Format({{"type", "json_schema"}, {"json_schema", json::object()}}),
                "response_format.json_schema.name", "is missing"},
        BadCase{Format({{"type", "json_schema"}, {"json_schema", {{"name", "s"}, {"schema", 5}}}}),
                "response_format.json_schema.schema", "expected an object"}));

class BadCompletionTest : public testing::TestWithParam<BadCase> {};

TEST_P(BadCompletionTest, IsRefusedWithTheFieldsName) {
  TextRequest request;
  const ApiError error = ParseCompletionRequest(Completion(GetParam().fields), &request);
  ASSERT_FALSE(error.ok());
  EXPECT_EQ(HttpStatusOf(error), 400);
  EXPECT_EQ(error.param, GetParam().param) << error.status.message();
  EXPECT_NE(error.status.message().find(GetParam().message), std::string::npos)
      << error.status.message();
}

INSTANTIATE_TEST_SUITE_P(
    Fields, BadCompletionTest,
    testing::Values(
        BadCase{{{"prompt", nullptr}}, "prompt", "is missing"},
        BadCase{{{"prompt", 5}}, "prompt", "a string, token ids"},
        BadCase{{{"prompt", json::array()}}, "prompt", "at least 1"},
        BadCase{{{"prompt", {1, "a"}}}, "prompt", "whole number"},
        BadCase{{{"prompt", {"a", 1}}}, "prompt[1]", "expected a string"},
        BadCase{{{"prompt", {1, -2}}}, "prompt", "whole number"},
        BadCase{{{"prompt", {{1}, json::array()}}}, "prompt[1]", "at least 1"},
        BadCase{{{"prompt", std::vector<std::string>(129, "a")}}, "prompt", "at most 128"},
        BadCase{{{"logprobs", 6}}, "logprobs", "from 0 to 5"},
        BadCase{{{"logprobs", true}}, "logprobs", "whole number"},
        BadCase{{{"best_of", 3}}, "best_of", "only the value of 'n'"},
        BadCase{{{"suffix", "x"}}, "suffix", "not supported"},
        BadCase{{{"echo", true}, {"logprobs", 1}}, "echo", "together with 'logprobs'"},
        BadCase{{{"echo", true}, {"prompt", {1, 2}}}, "echo", "token ids"},
        BadCase{{{"stream_options", json::object()}}, "stream_options", "'stream': true"}));

TEST(OpenAiRequestTest, TextThatIsNoStrictJsonIsRefused) {
  const std::string good = Chat({});
  for (const std::string& bad :
       {std::string(), std::string("   "), std::string("null"), std::string("[]"), good + "x",
        good + good, good.substr(0, good.size() - 1),
        std::string("{\"model\":\"a\",\"model\":\"b\"}"),
        std::string(R"({"model":"m","messages":[{"role":"user","role":"user","content":"x"}]})"),
        std::string(R"({"model":"m","messages":[{"role":"user","content":"\ud800"}]})"),
        std::string(R"({"model":"m","messages":[{"role":"user","content":"\udc00\ud800"}]})"),
        std::string("{\"model\":\"m\",\"messages\":[{\"role\":\"user\",\"content\":\"\xff\"}]}"),
        std::string("{\"model\":\"m\",\"messages\":[{\"role\":\"user\",\"content\":\"a\nb\"}]}"),
        std::string(R"({"model":"m","temperature":NaN})"),
        std::string(R"({"model":"m","temperature":Infinity})"),
        std::string(R"({"model":"m","temperature":1e999})"), std::string(R"({"model":"m",})"),
        "{\"model\":\"m\",\"messages\":" + std::string(100, '[') + std::string(100, ']') + "}"}) {
    TextRequest request;
    const ApiError error = ParseChatRequest(bad, &request);
    EXPECT_EQ(HttpStatusOf(error), 400) << bad;
    EXPECT_FALSE(error.ok()) << bad;
  }
}

TEST(OpenAiRequestTest, SchemasWithAKeyGivenTwiceAreRefused) {
  TextRequest request;
  const ApiError error = ParseChatRequest(
      R"({"model":"m","messages":[{"role":"user","content":"x"}],"response_format":{"type":"json_schema","json_schema":{"name":"s",)"
      R"("schema":{"properties":{"a":{"type":"string","type":"integer"}}}}}})",
      &request);
  ASSERT_FALSE(error.ok());
  EXPECT_NE(error.status.message().find("'type' is given twice"), std::string::npos);
}

TEST(OpenAiRequestTest, WhatDependsOnTheModelIsCheckedAgainstIt) {
  const LanguageModelInfo info{"m", 0, 100, 50, true, false, "llama"};
  EXPECT_TRUE(CheckPrompts(info, ParsedChat({{"max_tokens", 100}})).ok());
  EXPECT_EQ(CheckPrompts(info, ParsedChat({{"max_tokens", 101}})).param, "max_tokens");
  EXPECT_EQ(CheckPrompts(info, ParsedChat({{"logit_bias", {{"50", 1}}}})).param, "logit_bias");
  EXPECT_EQ(CheckPrompts(info, ParsedCompletion({{"prompt", {49, 50}}})).param, "prompt");
  LanguageModelInfo base = info;
  base.chat = false;
  const ApiError error = CheckPrompts(base, ParsedChat({}));
  EXPECT_EQ(error.code, "unsupported_model");
  EXPECT_TRUE(CheckPrompts(base, ParsedCompletion({})).ok());
}

TEST(OpenAiRequestTest, GenerateHasItsOwnForm) {
  TextRequest request;
  ApiError error = ParseGenerateRequest(
      R"({"text_input":"a","id":"7","parameters":{"max_tokens":5,"temperature":0,"stop":["x"],"stream":false,"odd":1}})",
      &request);
  ASSERT_TRUE(error.ok()) << error.status.message();
  EXPECT_EQ(request.id, "7");
  EXPECT_EQ(request.prompts[0].prompt, "a");
  EXPECT_EQ(request.prompts[0].max_tokens, 5);
  EXPECT_EQ(request.unknown, (std::vector<std::string>{"parameters.odd"}));
  for (const auto& [body, param] : std::vector<std::pair<std::string, std::string>>{
           {"{}", "text_input"},
           {R"({"text_input":5})", "text_input"},
           {R"({"text_input":"a","id":5})", "id"},
           {R"({"text_input":"a","parameters":[]})", "parameters"},
           {R"({"text_input":"a","parameters":{"temperature":9}})", "parameters.temperature"},
           {R"({"text_input":"a","parameters":{"priority":17}})", "parameters.priority"},
           {R"({"text_input":"a","parameters":{"timeout":-1}})", "parameters.timeout"},
           {R"({"text_input":"a","parameters":{"n":2}})", "parameters.n"}}) {
    TextRequest bad;
    EXPECT_EQ(ParseGenerateRequest(body, &bad).param, param) << body;
  }
}

TEST(OpenAiRequestTest, EmbeddingInputsOfEveryForm) {
  const auto parse = [](const json& fields) {
    json body = {{"model", "m"}};
    body.update(fields);
    EmbeddingRequest request;
    const ApiError error = ParseEmbeddingRequest(body.dump(), &request);
    EXPECT_TRUE(error.ok()) << error.status.message();
    return request;
  };
  EXPECT_EQ(parse({{"input", "a"}}).texts, (std::vector<std::string>{"a"}));
  EXPECT_EQ(parse({{"input", {"a", "b"}}}).texts.size(), 2U);
  EXPECT_EQ(parse({{"input", {1, 2}}}).tokens, (std::vector<std::vector<int32_t>>{{1, 2}}));
  EXPECT_EQ(parse({{"input", {{1}, {2, 3}}}}).tokens.size(), 2U);
  EXPECT_TRUE(parse({{"input", "a"}, {"encoding_format", "base64"}}).base64);
  EXPECT_TRUE(parse({{"input", "a"}, {"truncation", "auto"}}).truncate);
  EXPECT_EQ(parse({{"input", "a"}, {"dimensions", 5}}).dimensions, 5);
  for (const auto& [fields, param] : std::vector<std::pair<json, std::string>>{
           {{{"input", nullptr}}, "input"},
           {{{"input", ""}}, "input"},
           {{{"input", 5}}, "input"},
           {{{"input", json::array()}}, "input"},
           {{{"input", {"a", ""}}}, "input[1]"},
           {{{"input", {"a", json::array({1})}}}, "input[1]"},
           {{{"input", {"a", 5}}}, "input[1]"},
           {{{"input", {1, 2.5}}}, "input"},
           {{{"input", {{1}, json::array()}}}, "input[1]"},
           {{{"input", std::vector<std::string>(2049, "a")}}, "input"},
           {{{"input", "a"}, {"encoding_format", "hex"}}, "encoding_format"},
           {{{"input", "a"}, {"dimensions", 0}}, "dimensions"},
           {{{"input", "a"}, {"model", ""}}, "model"}}) {
    json body = {{"model", "m"}};
    body.update(fields);
    EmbeddingRequest request;
    const ApiError error = ParseEmbeddingRequest(body.dump(), &request);
    EXPECT_EQ(error.param, param) << body.dump().substr(0, 100);
    EXPECT_FALSE(error.ok());
  }
}

TEST(OpenAiRequestTest, TheWarningNamesTheFirstUnknownFields) {
  EXPECT_EQ(IgnoredWarning({}), "");
  EXPECT_EQ(IgnoredWarning({"a", "b\r\nX: y"}), "ignored unknown fields: a, b??X: y");
  const std::string many = IgnoredWarning(std::vector<std::string>(100, std::string(1000, 'x')));
  EXPECT_LT(many.size(), 1000U);
  EXPECT_TRUE(many.ends_with(", ..."));
}

}  // namespace
}  // namespace evenkeel
