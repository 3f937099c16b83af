#include "frontends/openai_answer.h"

#include <gtest/gtest.h>

#include <limits>
#include <nlohmann/json.hpp>

#include "frontends/fake_language_model.h"

namespace evenkeel {
namespace {

using nlohmann::json;

const AnswerIdentity kIdentity{"chatcmpl-1", 1'700'000'000, "m\"x"};

// The JSON documents of server-sent events; "[DONE]" stays a string.
std::vector<json> Events(std::string_view text) {
  std::vector<json> events;
  while (!text.empty()) {
    const size_t end = text.find("\n\n");
    EXPECT_NE(end, std::string_view::npos) << text;
    if (end == std::string_view::npos) break;
    EXPECT_TRUE(text.starts_with("data: ")) << text;
    const std::string_view data = text.substr(6, end - 6);
    EXPECT_EQ(data.find('\n'), std::string_view::npos);
    events.push_back(data == "[DONE]" ? json(data) : json::parse(data));
    text.remove_prefix(end + 2);
  }
  return events;
}

TokenLogprob Logprob(std::string bytes, float value) {
  TokenLogprob token;
  token.bytes = std::move(bytes);
  token.logprob = value;
  token.top = {{token.bytes, value}, {"other", -3.0F}};
  return token;
}

TEST(ChatAnswerTest, AStreamHasRolePiecesReasonAndEnd) {
  const auto writer = NewChatWriter(kIdentity, /*include_usage=*/false, /*logprobs=*/false);
  const std::vector<json> first = Events(writer->Piece(0, TextDelta(0, "hä\n")));
  ASSERT_EQ(first.size(), 2U);
  EXPECT_EQ(first[0]["object"], "chat.completion.chunk");
  EXPECT_EQ(first[0]["id"], "chatcmpl-1");
  EXPECT_EQ(first[0]["model"], "m\"x");
  EXPECT_EQ(first[0]["created"], 1'700'000'000);
  EXPECT_EQ(first[0]["choices"][0]["delta"], json({{"role", "assistant"}, {"content", ""}}));
  EXPECT_FALSE(first[0].contains("usage"));
  EXPECT_EQ(first[1]["choices"][0]["delta"], json({{"content", "hä\n"}}));
  EXPECT_TRUE(first[1]["choices"][0]["finish_reason"].is_null());
  EXPECT_TRUE(first[1]["choices"][0]["logprobs"].is_null());
  EXPECT_EQ(Events(writer->Piece(0, TextDelta(0, "more"))).size(), 1U);
  EXPECT_EQ(writer->Piece(0, TextDelta(0, "")), "");
  const std::vector<json> other = Events(writer->Piece(1, TextDelta(1, "b")));
  ASSERT_EQ(other.size(), 2U);
  EXPECT_EQ(other[1]["choices"][0]["index"], 1);
  const std::vector<json> finish = Events(writer->Finish(0, FinishReason::kLength));
  ASSERT_EQ(finish.size(), 1U);
  EXPECT_EQ(finish[0]["choices"][0]["finish_reason"], "length");
  EXPECT_EQ(finish[0]["choices"][0]["delta"], json::object());
  EXPECT_EQ(writer->End(FakeUsage(4, 2)), "data: [DONE]\n\n");
}

TEST(ChatAnswerTest, AnEmptyAnswerStillHasARole) {
  const auto writer = NewChatWriter(kIdentity, false, false);
  const std::vector<json> events = Events(writer->Finish(0, FinishReason::kStop));
  ASSERT_EQ(events.size(), 2U);
  EXPECT_EQ(events[0]["choices"][0]["delta"]["role"], "assistant");
}

TEST(ChatAnswerTest, UsageComesLastWhenAskedForAndIsNullBefore) {
  const auto writer = NewChatWriter(kIdentity, /*include_usage=*/true, false);
  for (const json& event : Events(writer->Piece(0, TextDelta(0, "a"))))
    EXPECT_TRUE(event["usage"].is_null() && event.contains("usage"));
  const std::vector<json> end = Events(writer->End(FakeUsage(4, 2)));
  ASSERT_EQ(end.size(), 2U);
  EXPECT_EQ(end[0]["choices"], json::array());
  EXPECT_EQ(end[0]["usage"], json({{"prompt_tokens", 4},
                                   {"completion_tokens", 2},
                                   {"total_tokens", 6},
                                   {"prompt_tokens_details", {{"cached_tokens", 2}}}}));
  EXPECT_EQ(end[1], "[DONE]");
}

TEST(ChatAnswerTest, ToolCallsStreamByIndex) {
  const auto writer = NewChatWriter(kIdentity, false, false);
  GenerationDelta delta;
  delta.tool_calls = {{0, "call_1", "weather", ""}};
  json piece = Events(writer->Piece(0, delta)).back()["choices"][0]["delta"]["tool_calls"][0];
  EXPECT_EQ(piece, json({{"index", 0},
                         {"id", "call_1"},
                         {"type", "function"},
                         {"function", {{"name", "weather"}, {"arguments", ""}}}}));
  delta.tool_calls = {{0, "", "", "{\"a\":"}};
  piece = Events(writer->Piece(0, delta))[0]["choices"][0]["delta"]["tool_calls"][0];
  EXPECT_EQ(piece, json({{"index", 0}, {"function", {{"arguments", "{\"a\":"}}}}));
}

TEST(ChatAnswerTest, LogprobsHaveTextsBytesAndFiniteNumbers) {
  const auto writer = NewChatWriter(kIdentity, false, /*logprobs=*/true);
  GenerationDelta delta;
  delta.logprobs = {Logprob("\xc3", -0.5F), Logprob("a", -std::numeric_limits<float>::infinity())};
  const std::vector<json> events = Events(writer->Piece(0, delta));
  const json content = events.back()["choices"][0]["logprobs"]["content"];
  ASSERT_EQ(content.size(), 2U);
  EXPECT_EQ(content[0]["token"], "?");
  EXPECT_EQ(content[0]["bytes"], json({0xc3}));
  EXPECT_EQ(content[0]["logprob"], -0.5);
  EXPECT_EQ(content[1]["logprob"], -9999.0);
  EXPECT_EQ(content[1]["top_logprobs"][1]["token"], "other");
}

TEST(ChatAnswerTest, AWholeAnswerHasMessageReasonAndUsage) {
  const auto writer = NewChatWriter(kIdentity, false, false);
  GeneratedChoice text, tools;
  text.Add(TextDelta(0, "hel"));
  text.Add(TextDelta(0, "lo"));
  GenerationDelta thought;
  thought.reasoning = "hm";
  text.Add(thought);
  GenerationDelta call;
  call.tool_calls = {{0, "c", "f", ""}, {1, "d", "g", "{}"}};
  tools.Add(call);
  call.tool_calls = {{0, "", "", "{\"a\":1}"}};
  tools.Add(call);
  tools.reason = FinishReason::kToolCalls;
  const json answer = json::parse(writer->Whole({text, tools}, FakeUsage(4, 2)));
  EXPECT_EQ(answer["object"], "chat.completion");
  EXPECT_EQ(answer["choices"][0]["message"]["content"], "hello");
  EXPECT_EQ(answer["choices"][0]["message"]["reasoning_content"], "hm");
  EXPECT_EQ(answer["choices"][0]["finish_reason"], "stop");
  EXPECT_FALSE(answer["choices"][0]["message"].contains("tool_calls"));
  EXPECT_EQ(answer["choices"][1]["index"], 1);
  EXPECT_TRUE(answer["choices"][1]["message"]["content"].is_null());
  EXPECT_EQ(answer["choices"][1]["message"]["tool_calls"][0]["function"]["arguments"], "{\"a\":1}");
  EXPECT_EQ(answer["choices"][1]["message"]["tool_calls"][1]["id"], "d");
  EXPECT_EQ(answer["choices"][1]["finish_reason"], "tool_calls");
  EXPECT_EQ(answer["usage"]["total_tokens"], 6);
}

TEST(CompletionAnswerTest, StreamsAndWholeAnswersWithEcho) {
  const auto writer = NewCompletionWriter({"cmpl-1", 1, "m"}, false, false, {"A:", "B:"}, 2);
  // Four choices, two a prompt.
  EXPECT_EQ(Events(writer->Piece(2, TextDelta(2, "x")))[0]["choices"][0]["text"], "B:");
  EXPECT_EQ(Events(writer->Piece(2, TextDelta(2, "y")))[0]["choices"][0]["text"], "y");
  EXPECT_EQ(Events(writer->Finish(2, FinishReason::kStop))[0]["choices"][0]["finish_reason"],
            "stop");
  std::vector<GeneratedChoice> choices(4);
  for (size_t i = 0; i < 4; ++i) choices[i].Add(TextDelta(0, std::to_string(i)));
  const json answer = json::parse(writer->Whole(choices, FakeUsage(1, 4)));
  EXPECT_EQ(answer["object"], "text_completion");
  EXPECT_EQ(answer["choices"][1]["text"], "A:1");
  EXPECT_EQ(answer["choices"][3]["text"], "B:3");
}

TEST(CompletionAnswerTest, LogprobsCountCharacters) {
  const auto writer = NewCompletionWriter({"cmpl-1", 1, "m"}, false, /*logprobs=*/true, {}, 1);
  GenerationDelta delta = TextDelta(0, "äb");
  delta.logprobs = {Logprob("\xc3\xa4", -1), Logprob("b", -2)};
  const json first = Events(writer->Piece(0, delta))[0]["choices"][0]["logprobs"];
  EXPECT_EQ(first["tokens"], json({"ä", "b"}));
  EXPECT_EQ(first["token_logprobs"], json({-1.0, -2.0}));
  EXPECT_EQ(first["text_offset"], json({0, 1}));
  EXPECT_EQ(first["top_logprobs"][1]["b"], -2.0);
  delta.logprobs = {Logprob("c", -1)};
  EXPECT_EQ(Events(writer->Piece(0, delta))[0]["choices"][0]["logprobs"]["text_offset"], json({2}));
}

TEST(OpenAiAnswerTest, EmbeddingsAsNumbersAndAsBase64) {
  const std::vector<std::vector<float>> rows = {{1.0F, -0.5F}, {0.0F, 3.25F}};
  json answer = json::parse(EmbeddingsJson(rows, 7, "m", false));
  EXPECT_EQ(answer["object"], "list");
  EXPECT_EQ(answer["data"][0]["embedding"], json({1.0, -0.5}));
  EXPECT_EQ(answer["data"][1]["index"], 1);
  EXPECT_EQ(answer["usage"], json({{"prompt_tokens", 7}, {"total_tokens", 7}}));
  answer = json::parse(EmbeddingsJson(rows, 7, "m", true));
  EXPECT_EQ(answer["data"][0]["embedding"], "AACAPwAAAL8=");  // 3f800000, bf000000
}

TEST(OpenAiAnswerTest, ShortenedVectorsHaveLengthOneAgain) {
  const std::vector<std::vector<float>> rows = {{0.48F, 0.64F, 0.6F}, {0.0F, 0.0F, 1.0F}};
  EXPECT_EQ(Shortened(rows, 0), rows);
  EXPECT_EQ(Shortened(rows, 3), rows);
  const auto shorter = Shortened(rows, 2);
  EXPECT_NEAR(shorter[0][0], 0.6, 1e-6);
  EXPECT_NEAR(shorter[0][1], 0.8, 1e-6);
  EXPECT_EQ(shorter[1], (std::vector<float>{0, 0}));  // has no direction there
}

TEST(OpenAiAnswerTest, ErrorsHaveAllFourKeys) {
  const json error = json::parse(ApiErrorJson(BadField("n", "too {}", "large")))["error"];
  EXPECT_EQ(error, json({{"message", "'n': too large"},
                         {"type", "invalid_request_error"},
                         {"param", "n"},
                         {"code", nullptr}}));
  const std::vector<std::tuple<Code, int, std::string, std::string>> rows = {
      {Code::kNotFound, 404, "invalid_request_error", "not_found"},
      {Code::kOverloaded, 429, "rate_limit_error", "rate_limit_exceeded"},
      {Code::kInternal, 500, "server_error", "internal_error"},
      {Code::kUnavailable, 503, "server_error", "service_unavailable"},
      {Code::kDeadlineExceeded, 504, "server_error", "deadline_exceeded"},
      {Code::kUnsupported, 400, "invalid_request_error", ""},
      {Code::kTooLarge, 400, "invalid_request_error", "context_length_exceeded"},
  };
  for (const auto& [code, http, type, name] : rows) {
    const HttpResponse response = ApiErrorResponse(ModelError({code, "why"}));
    const json body = json::parse(response.body)["error"];
    EXPECT_EQ(response.status, http);
    EXPECT_EQ(body["type"], type);
    EXPECT_EQ(body["message"], "why");
    EXPECT_TRUE(body["param"].is_null());
    if (name.empty()) {
      EXPECT_TRUE(body["code"].is_null());
    } else {
      EXPECT_EQ(body["code"], name);
    }
    EXPECT_EQ(response.headers.empty(), http != 429 && http != 503);
  }
  EXPECT_EQ(json::parse(ApiErrorResponse(413, "x").body)["error"]["code"], "request_too_large");
}

TEST(OpenAiAnswerTest, IdentitiesDiffer) {
  const AnswerIdentity a = NewIdentity("chatcmpl-", "m"), b = NewIdentity("chatcmpl-", "m");
  EXPECT_NE(a.id, b.id);
  EXPECT_EQ(a.id.size(), 9U + 24U);
  EXPECT_GT(a.created_s, 1'700'000'000);
}

}  // namespace
}  // namespace evenkeel
