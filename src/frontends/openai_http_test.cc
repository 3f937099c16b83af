#include "frontends/openai_http.h"

#include <gtest/gtest.h>

#include <cmath>
#include <nlohmann/json.hpp>
#include <thread>

#include "frontends/fake_service.h"
#include "frontends/http_router.h"
#include "frontends/http_test_exchange.h"
#include "frontends/text_call.h"

namespace evenkeel {
namespace {

using nlohmann::json;
using std::chrono::milliseconds;

class OpenAiHttpTest : public testing::Test {
 protected:
  using Fields = std::vector<std::pair<std::string, std::string>>;

  std::unique_ptr<TestExchange> Post(const std::string& path, const json& body,
                                     Fields fields = {}) {
    auto exchange =
        std::make_unique<TestExchange>(HttpMethod::kPost, path, body.dump(), std::move(fields));
    router_.Handle(*exchange);
    return exchange;
  }
  std::unique_ptr<TestExchange> Chat(json body, Fields fields = {}) {
    if (!body.contains("model")) body["model"] = "chatty";
    if (!body.contains("messages"))
      body["messages"] = json::array({{{"role", "user"}, {"content", "hi"}}});
    return Post("/v1/chat/completions", body, std::move(fields));
  }
  std::unique_ptr<TestExchange> Get(const std::string& path) {
    auto exchange = std::make_unique<TestExchange>(HttpMethod::kGet, path);
    router_.Handle(*exchange);
    return exchange;
  }
  static json Body(const TestExchange& exchange) { return json::parse(exchange.response.body); }
  static json Error(const TestExchange& exchange) { return Body(exchange)["error"]; }
  // The text of all pieces of choice `index`, and whether the stream ended as it should.
  static std::string Streamed(const TestExchange& exchange, int index = 0) {
    std::string text;
    EXPECT_TRUE(exchange.streamed);
    EXPECT_TRUE(exchange.response.body.ends_with("data: [DONE]\n\n")) << exchange.response.body;
    for (const json& event : Events(exchange)) {
      for (const json& choice : event["choices"]) {
        if (choice["index"] == index && choice["delta"].contains("content"))
          text += choice["delta"]["content"];
      }
    }
    return text;
  }
  static std::vector<json> Events(const TestExchange& exchange) {
    std::vector<json> events;
    std::string_view text = exchange.response.body;
    while (!text.empty()) {
      const size_t end = std::min(text.find("\n\n"), text.size());
      const std::string_view data = text.substr(6, end - 6);
      if (data != "[DONE]") events.push_back(json::parse(data));
      text.remove_prefix(std::min(end + 2, text.size()));
    }
    return events;
  }
  FakeLanguageModel& chatty() { return service_.language_model("chatty"); }

  FakeService service_;
  HttpRouter router_{service_, Authorizer::Off()};
};

TEST_F(OpenAiHttpTest, ModelsAreListedAndFound) {
  const json list = Body(*Get("/v1/models"));
  EXPECT_EQ(list["object"], "list");
  ASSERT_EQ(list["data"].size(), 4U);
  EXPECT_EQ(list["data"][1]["id"], "chatty");
  EXPECT_EQ(list["data"][1]["object"], "model");
  EXPECT_EQ(list["data"][1]["created"], 1'700'000'000);
  EXPECT_EQ(Body(*Get("/v1/models/base"))["owned_by"], "evenkeel");
  EXPECT_EQ(
      list["data"][2]["capabilities"],
      json({{"completions", false}, {"chat", false}, {"embeddings", false}, {"rerank", true}}));
  const auto unknown = Get("/v1/models/nobody");
  EXPECT_EQ(unknown->response.status, 404);
  EXPECT_EQ(Error(*unknown)["code"], "model_not_found");
  EXPECT_EQ(Error(*unknown)["param"], "model");
}

TEST_F(OpenAiHttpTest, AChatIsAnswered) {
  const auto exchange = Chat({{"n", 2}});
  EXPECT_EQ(exchange->response.status, 200);
  EXPECT_EQ(exchange->answers, 1);
  EXPECT_FALSE(exchange->streamed);
  const json answer = Body(*exchange);
  EXPECT_EQ(answer["model"], "chatty");
  ASSERT_EQ(answer["choices"].size(), 2U);
  EXPECT_EQ(answer["choices"][1]["message"]["content"], "hello world");
  EXPECT_EQ(answer["usage"]["completion_tokens"], 4);
  EXPECT_EQ(exchange->Field("Server-Timing"),
            "queue;dur=1.000, prompt;dur=20.000, decode;dur=300.000");
}

TEST_F(OpenAiHttpTest, AChatIsStreamed) {
  const auto exchange =
      Chat({{"n", 2}, {"stream", true}, {"stream_options", {{"include_usage", true}}}});
  EXPECT_EQ(exchange->response.status, 200);
  EXPECT_EQ(exchange->answers, 1);
  EXPECT_EQ(exchange->response.content_type, "text/event-stream; charset=utf-8");
  EXPECT_EQ(exchange->Field("Cache-Control"), "no-cache");
  EXPECT_EQ(exchange->Field("Trailer"), "Server-Timing");
  EXPECT_EQ(exchange->trailers,
            "Server-Timing: queue;dur=1.000, prompt;dur=20.000, decode;dur=300.000\r\n");
  EXPECT_EQ(exchange->heartbeat.text, ": ping\n\n");
  EXPECT_EQ(exchange->heartbeat.every, kPingEvery);
  EXPECT_EQ(Streamed(*exchange, 0), "hello world");
  EXPECT_EQ(Streamed(*exchange, 1), "hello world");
  EXPECT_EQ(Events(*exchange).back()["usage"]["prompt_tokens"], 5);
}

TEST_F(OpenAiHttpTest, CompletionsOfSeveralPromptsAreNumberedOn) {
  const auto exchange =
      Post("/v1/completions", {{"model", "base"}, {"prompt", {"a", "b"}}, {"n", 2}});
  const json answer = Body(*exchange);
  ASSERT_EQ(answer["choices"].size(), 4U) << answer;
  EXPECT_EQ(answer["choices"][3]["index"], 3);
  EXPECT_EQ(answer["choices"][3]["text"], "hello world");
  EXPECT_EQ(answer["usage"]["prompt_tokens"], 10);
  EXPECT_EQ(answer["usage"]["completion_tokens"], 8);
  const std::vector<GenerationRequest> asked = service_.language_model("base").requests();
  ASSERT_EQ(asked.size(), 2U);
  EXPECT_EQ(asked[1].prompt, "b");
}

TEST_F(OpenAiHttpTest, EmbeddingsInBothForms) {
  const json body = {{"model", "vectors"}, {"input", {"ab", "cde"}}};
  const auto exchange = Post("/v1/embeddings", body);
  EXPECT_EQ(Body(*exchange)["data"][1]["embedding"], json({3.0, 1.0}));
  EXPECT_NE(exchange->Field("Server-Timing"), "");
  json base64 = body;
  base64["encoding_format"] = "base64";
  EXPECT_TRUE(Body(*Post("/v1/embeddings", base64))["data"][0]["embedding"].is_string());
  EXPECT_EQ(Error(*Post("/v1/embeddings", {{"model", "chatty"}, {"input", "a"}}))["code"],
            "unsupported_model");
  EXPECT_EQ(Error(*Post("/v1/embeddings", {{"model", "ranks"}, {"input", "a"}}))["code"],
            "unsupported_model");
  // The first number alone, of length 1 again.
  json shorter = body;
  shorter["dimensions"] = 1;
  EXPECT_EQ(Body(*Post("/v1/embeddings", shorter))["data"][1]["embedding"], json({1.0}));
  shorter["dimensions"] = 3;
  EXPECT_EQ(Error(*Post("/v1/embeddings", shorter))["param"], "dimensions");
  service_.language_model("vectors").FailEmbeddings({Code::kOverloaded, "full"});
  const auto shed = Post("/v1/embeddings", body);
  EXPECT_EQ(shed->response.status, 429);
  EXPECT_EQ(shed->Field("Retry-After"), "1");
}

TEST_F(OpenAiHttpTest, AClientThatLeavesCancelsItsEmbeddings) {
  FakeLanguageModel& vectors = service_.language_model("vectors");
  vectors.Hold(true);
  const auto exchange = Post("/v1/embeddings", {{"model", "vectors"}, {"input", "a"}});
  EXPECT_EQ(exchange->answers, 0);
  ASSERT_TRUE(vectors.holds_embedding());
  exchange->Cancel();
  EXPECT_FALSE(vectors.holds_embedding());
  EXPECT_EQ(exchange->answers, 1);
}

TEST_F(OpenAiHttpTest, WhatGeneratesNothingSaysSo) {
  const auto chat = Chat({{"model", "vectors"}});
  EXPECT_EQ(chat->response.status, 400);
  EXPECT_EQ(Error(*chat)["code"], "unsupported_model");
  const auto completion = Post("/v1/completions", {{"model", "ranks"}, {"prompt", "a"}});
  EXPECT_EQ(completion->response.status, 400);
  EXPECT_EQ(Error(*completion)["param"], "model");
}

// The fake's score is a document's length.
TEST_F(OpenAiHttpTest, DocumentsAreRankedByTheirScores) {
  const json body = {{"model", "ranks"},
                     {"query", "four"},
                     {"documents", {"a", {{"text", "bbbbbbbbbb"}}, "cccc"}},
                     {"return_documents", true},
                     {"top_n", 2}};
  const json answer = Body(*Post("/v1/rerank", body));
  ASSERT_EQ(answer["results"].size(), 2U) << answer;
  EXPECT_EQ(answer["results"][0]["index"], 1);
  EXPECT_NEAR(answer["results"][0]["relevance_score"].get<double>(), 0.1, 1e-5);
  EXPECT_EQ(answer["results"][0]["document"]["text"], "bbbbbbbbbb");
  EXPECT_EQ(answer["results"][1]["index"], 2);
  EXPECT_EQ(answer["usage"]["total_tokens"], 7);
  json plain = {{"model", "ranks"}, {"query", "q"}, {"documents", {"a", "b"}}};
  const json all = Body(*Post("/v1/rerank", plain));
  EXPECT_EQ(all["results"].size(), 2U);
  EXPECT_FALSE(all["results"][0].contains("document"));
  for (const auto& [field, value, param] : std::vector<std::tuple<std::string, json, std::string>>{
           {"query", "", "query"},
           {"query", nullptr, "query"},
           {"documents", json::array(), "documents"},
           {"documents", "a", "documents"},
           {"documents", json::array({"a", ""}), "documents[1]"},
           {"documents", json::array({json::object()}), "documents[0].text"},
           {"top_n", 0, "top_n"},
           {"model", "chatty", "model"},
           {"model", "vectors", "model"},
           {"truncation", "end", "truncation"},
           {"rank_fields", json::array({"a"}), "rank_fields"}}) {
    json bad = plain;
    bad[field] = value;
    const auto exchange = Post("/v1/rerank", bad);
    EXPECT_EQ(exchange->response.status, 400) << bad;
    EXPECT_EQ(Error(*exchange)["param"], param) << bad;
  }
}

TEST_F(OpenAiHttpTest, UnknownFieldsAreNamedInAHeader) {
  for (const bool stream : {false, true}) {
    const auto exchange = Chat({{"stream", stream}, {"mood", "good"}});
    EXPECT_EQ(exchange->response.status, 200);
    EXPECT_EQ(exchange->Field("X-Evenkeel-Warning"), "ignored unknown fields: mood");
  }
  EXPECT_EQ(Chat({})->Field("X-Evenkeel-Warning"), "");
}

TEST_F(OpenAiHttpTest, RefusalsHaveTheRightStatusInTheRightForm) {
  struct Case {
    std::unique_ptr<TestExchange> exchange;
    int status;
    json param;
  };
  std::vector<Case> cases;
  cases.push_back({Chat({{"temperature", 3}}), 400, "temperature"});
  cases.push_back({Chat({{"model", "nobody"}}), 404, "model"});
  cases.push_back({Chat({{"model", "echo"}}), 404, "model"});
  cases.push_back({Chat({{"model", "loading"}}), 503, nullptr});
  cases.push_back({Chat({{"model", "base"}}), 400, "model"});
  cases.push_back({Chat({{"max_tokens", 1001}}), 400, "max_tokens"});
  cases.push_back({Chat({}, {{"X-Request-Timeout-Ms", "soon"}}), 400, "X-Request-Timeout-Ms"});
  cases.push_back({Chat({}, {{"Content-Type", "image/png"}}), 415, nullptr});
  cases.push_back({Get("/v1/chat/completions"), 405, nullptr});
  cases.push_back({Get("/v1/embeddings"), 405, nullptr});
  cases.push_back({Post("/v1/models", json::object()), 405, nullptr});
  cases.push_back({Get("/v1/nothing"), 404, nullptr});
  cases.push_back({Get("/v1"), 404, nullptr});
  for (const Case& each : cases) {
    const TestExchange& exchange = *each.exchange;
    EXPECT_EQ(exchange.response.status, each.status) << exchange.response.body;
    EXPECT_EQ(exchange.answers, 1);
    const json error = Error(exchange);
    EXPECT_EQ(error.size(), 4U) << error;
    EXPECT_EQ(error["param"], each.param) << error;
    EXPECT_TRUE(error["message"].is_string() && error["type"].is_string());
  }
  EXPECT_EQ(cases[8].exchange->Field("Allow"), "POST");
  EXPECT_EQ(cases[3].exchange->Field("Retry-After"), "1");
  EXPECT_TRUE(chatty().requests().empty());
}

TEST_F(OpenAiHttpTest, TheMetricsPortHasNoModels) {
  HttpRouter metrics(service_, Authorizer::Off(), HttpPages::kMetrics);
  TestExchange exchange(HttpMethod::kGet, "/v1/models");
  metrics.Handle(exchange);
  EXPECT_EQ(exchange.response.status, 404);
}

TEST_F(OpenAiHttpTest, EveryStatusOfTheModelBeforeItStarts) {
  for (const bool stream : {false, true}) {
    for (const auto& [code, status] :
         std::vector<std::pair<Code, int>>{{Code::kInvalidArgument, 400},
                                           {Code::kTooLarge, 400},
                                           {Code::kOverloaded, 429},
                                           {Code::kInternal, 500},
                                           {Code::kUnavailable, 503},
                                           {Code::kDeadlineExceeded, 504}}) {
      chatty().script = [c = code](GenerationCall* call) { call->Done({c, "why"}, {}); };
      const auto exchange = Chat({{"stream", stream}});
      EXPECT_EQ(exchange->response.status, status);
      EXPECT_FALSE(exchange->streamed);
      EXPECT_EQ(exchange->answers, 1);
      EXPECT_EQ(Error(*exchange)["message"], "why");
      EXPECT_EQ(exchange->Field("Retry-After"), status == 429 || status == 503 ? "1" : "");
    }
  }
}

TEST_F(OpenAiHttpTest, AnErrorAfterTheStreamBeganIsItsLastPiece) {
  chatty().script = [](GenerationCall* call) {
    call->OnStart(5);
    call->OnDelta(TextDelta(0, "so far"));
    call->Done({Code::kInternal, "the worker died"}, FakeUsage(5, 1));
  };
  const auto exchange = Chat({{"stream", true}});
  EXPECT_EQ(exchange->response.status, 200);
  EXPECT_EQ(exchange->answers, 1);
  const json last = Events(*exchange).back();
  EXPECT_EQ(last["error"]["message"], "the worker died");
  EXPECT_EQ(last["error"]["type"], "server_error");
  EXPECT_EQ(exchange->response.body.find("[DONE]"), std::string::npos);
  // A whole answer that fails half-way is an error, too.
  EXPECT_EQ(Chat({})->response.status, 500);
}

TEST_F(OpenAiHttpTest, TheDeadlineCountsFromTheRequestsArrival) {
  const auto exchange = Chat({}, {{"X-Request-Timeout-Ms", "250"}});
  EXPECT_EQ(chatty().last_deadline(), exchange->received() + milliseconds(250));
  Chat({});
  EXPECT_EQ(chatty().last_deadline(), kNever);
}

TEST_F(OpenAiHttpTest, AnswersFromAnotherThread) {
  chatty().Hold(true);
  for (const bool stream : {false, true}) {
    const auto exchange = Chat({{"stream", stream}, {"n", 2}});
    ASSERT_EQ(chatty().held_count(), 1U);
    EXPECT_EQ(exchange->answers, 0);
    std::thread engine([&] {
      GenerationCall* call = chatty().held(0);
      call->OnStart(5);
      for (int i = 0; i < 100; ++i) call->OnDelta(TextDelta(i % 2, std::to_string(i % 10)));
      call->OnFinish(1, FinishReason::kLength);
      call->OnFinish(0, FinishReason::kStop);
      chatty().Finish(call, {}, FakeUsage(5, 100));
    });
    engine.join();
    EXPECT_EQ(exchange->answers, 1);
    std::string expected;
    for (int i = 0; i < 100; i += 2) expected += std::to_string(i % 10);
    EXPECT_EQ(stream ? Streamed(*exchange)
                     : Body(*exchange)["choices"][0]["message"]["content"].get<std::string>(),
              expected);
  }
}

TEST_F(OpenAiHttpTest, AClientThatLeavesCancels) {
  chatty().Hold(true);
  for (const bool stream : {false, true}) {
    for (const bool started : {false, true}) {
      const int before = chatty().cancels();
      const auto exchange = Chat({{"stream", stream}});
      if (started) chatty().held(0)->OnStart(5);
      exchange->Cancel();
      EXPECT_EQ(chatty().cancels(), before + 1);
      EXPECT_EQ(chatty().held_count(), 0U);
      EXPECT_EQ(exchange->answers, 1);
      EXPECT_EQ(exchange->streamed, stream && started);
      EXPECT_EQ(exchange->response.status, exchange->streamed ? 200 : 499);
    }
  }
}

TEST_F(OpenAiHttpTest, AnAnswerThatIsAheadOfTheCancellationIsTheOnlyOne) {
  chatty().Hold(true);
  chatty().KeepCancelled(true);
  const auto exchange = Chat({{"stream", true}});
  GenerationCall* call = chatty().held(0);
  call->OnStart(5);
  exchange->Cancel();
  call->OnDelta(TextDelta(0, "too late"));
  call->OnFinish(0, FinishReason::kStop);
  chatty().Finish(call, {}, FakeUsage(5, 1));
  EXPECT_EQ(exchange->answers, 1);
  EXPECT_EQ(exchange->response.body.find("too late"), std::string::npos);
}

// The end of the answer and the end of the client, at once, many times.
TEST_F(OpenAiHttpTest, CancellationsAndEndsRace) {
  chatty().Hold(true);
  for (int round = 0; round < 200; ++round) {
    const auto exchange = Chat({{"stream", round % 2 == 0}});
    GenerationCall* call = chatty().held(0);
    chatty().KeepCancelled(true);
    std::atomic<bool> go{false};
    std::thread engine([&] {
      while (!go) std::this_thread::yield();
      call->OnStart(5);
      call->OnDelta(TextDelta(0, "a"));
      call->OnFinish(0, FinishReason::kStop);
      chatty().Finish(call, {}, FakeUsage(5, 1));
    });
    go = true;
    exchange->Cancel();
    engine.join();
    EXPECT_EQ(exchange->answers, 1);
  }
}

TEST_F(OpenAiHttpTest, OneFailedPromptCancelsTheOthers) {
  FakeLanguageModel& base = service_.language_model("base");
  base.Hold(true);
  for (const bool stream : {false, true}) {
    const int before = base.cancels();
    const auto exchange = Post(
        "/v1/completions", {{"model", "base"}, {"prompt", {"a", "b", "c"}}, {"stream", stream}});
    ASSERT_EQ(base.held_count(), 3U);
    base.held(0)->OnStart(1);
    base.Finish(base.held(1), {Code::kOverloaded, "full"}, {});
    EXPECT_EQ(base.held_count(), 0U);
    EXPECT_EQ(base.cancels(), before + 2);
    EXPECT_EQ(exchange->answers, 1);
    if (stream) {
      EXPECT_EQ(Events(*exchange).back()["error"]["message"], "full");
    } else {
      EXPECT_EQ(exchange->response.status, 429);
    }
  }
}

TEST_F(OpenAiHttpTest, APromptThatFailsAtOnceKeepsTheNextFromStarting) {
  FakeLanguageModel& base = service_.language_model("base");
  base.script = [](GenerationCall* call) { call->Done({Code::kOverloaded, "full"}, {}); };
  const auto exchange = Post("/v1/completions", {{"model", "base"}, {"prompt", {"a", "b"}}});
  EXPECT_EQ(exchange->response.status, 429);
  EXPECT_EQ(exchange->answers, 1);
  EXPECT_EQ(base.requests().size(), 1U);
}

TEST_F(OpenAiHttpTest, AWholeAnswerIsBounded) {
  chatty().script = [](GenerationCall* call) {
    call->OnStart(5);
    for (int i = 0; i < 70; ++i) call->OnDelta(TextDelta(0, std::string(1 << 20, 'x')));
    call->Done({}, FakeUsage(5, 70));
  };
  const auto exchange = Chat({});
  EXPECT_EQ(exchange->response.status, 400);
  EXPECT_NE(Error(*exchange)["message"].get<std::string>().find("ask for a stream"),
            std::string::npos);
}

TEST_F(OpenAiHttpTest, ADeltaOfAChoiceThatIsNotThereIsDropped) {
  chatty().script = [](GenerationCall* call) {
    call->OnStart(5);
    for (const int choice : {-1, 1, 1'000'000}) {
      call->OnDelta(TextDelta(choice, "nobody's"));
      call->OnFinish(choice, FinishReason::kStop);
    }
    call->Done({}, FakeUsage(5, 1));
  };
  EXPECT_EQ(Body(*Chat({}))["choices"].size(), 1U);
}

TEST_F(OpenAiHttpTest, GenerateSpeaksTheOpenInferenceProtocol) {
  const auto whole = Post("/v2/models/base/generate",
                          {{"text_input", "a"}, {"id", "7"}, {"parameters", {{"max_tokens", 5}}}});
  EXPECT_EQ(whole->response.status, 200);
  EXPECT_EQ(Body(*whole), json({{"id", "7"},
                                {"model_name", "base"},
                                {"model_version", "1"},
                                {"text_output", "hello world"},
                                {"details", {{"finish_reason", "stop"}}}}));
  EXPECT_EQ(service_.language_model("base").requests()[0].max_tokens, 5);
  const auto stream = Post("/v2/models/base/versions/1/generate_stream", {{"text_input", "a"}});
  EXPECT_TRUE(stream->streamed);
  std::string text;
  for (const json& event : Events(*stream)) text += event["text_output"];
  EXPECT_EQ(text, "hello world");
  EXPECT_EQ(stream->answers, 1);
  const auto urgent =
      Post("/v2/models/base/generate",
           {{"text_input", "a"}, {"parameters", {{"priority", 2}, {"timeout", 500}}}});
  EXPECT_EQ(service_.language_model("base").last_priority(), 2);
  EXPECT_EQ(service_.language_model("base").last_deadline(),
            urgent->received() + std::chrono::microseconds(500));
  for (const auto& [path, status] :
       std::vector<std::pair<std::string, int>>{{"/v2/models/nobody/generate", 404},
                                                {"/v2/models/base/versions/2/generate", 404},
                                                {"/v2/models/echo/generate", 501},
                                                {"/v2/models/loading/generate", 503}}) {
    const auto bad = Post(path, {{"text_input", "a"}});
    EXPECT_EQ(bad->response.status, status) << path;
    EXPECT_TRUE(Body(*bad)["error"].is_string()) << path;
  }
  EXPECT_EQ(Post("/v2/models/base/generate", {{"text", "a"}})->response.status, 400);
  EXPECT_EQ(Get("/v2/models/base/generate")->response.status, 405);
}

}  // namespace
}  // namespace evenkeel
