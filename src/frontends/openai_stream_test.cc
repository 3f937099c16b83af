// The OpenAI API over a real connection: what the exchange of the other tests cannot show.
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>
#include <thread>

#include "frontends/fake_service.h"
#include "frontends/http_router.h"
#include "net/http_server.h"
#include "net/http_test_client.h"
#include "net/io_loop.h"

namespace evenkeel {
namespace {

using nlohmann::json;
using std::chrono::milliseconds;

constexpr std::string_view kEndOfChunks = "\r\n0\r\n\r\n";

class OpenAiStreamTest : public testing::Test {
 protected:
  void SetUp() override {
    auto loop = IoLoop::Create("http");
    ASSERT_TRUE(loop.ok());
    loop_ = std::move(*loop);
    loop_->Start();
    HttpServerOptions options;
    options.limits.body_bytes = 100'000;
    auto server = HttpServer::Listen(options, &router_, {loop_.get()});
    ASSERT_TRUE(server.ok());
    server_ = std::move(*server);
  }
  static std::string Chat(bool stream, std::string_view fields = "") {
    const json body = {{"model", "chatty"},
                       {"stream", stream},
                       {"messages", json::array({{{"role", "user"}, {"content", "hi"}}})}};
    return fmt::format(
        "POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nContent-Type: "
        "application/json\r\n"
        "Content-Length: {}\r\n{}\r\n{}",
        body.dump().size(), fields, body.dump());
  }
  template <typename F>
  static bool Eventually(F holds) {
    for (int i = 0; i < 2'000; ++i) {
      if (holds()) return true;
      std::this_thread::sleep_for(milliseconds(5));
    }
    return false;
  }
  FakeLanguageModel& chatty() { return service_.language_model("chatty"); }

  FakeService service_;
  HttpRouter router_{service_, Authorizer::Off()};
  std::unique_ptr<IoLoop> loop_;
  std::unique_ptr<HttpServer> server_;
};

TEST_F(OpenAiStreamTest, EventsComeAsTheModelSaysThem) {
  chatty().Hold(true);
  RawClient client(server_->port());
  ASSERT_TRUE(client.Send(Chat(true, "X-Request-Id: r-1\r\n") + Chat(false)));
  ASSERT_TRUE(Eventually([&] { return chatty().held_count() == 2; }));
  GenerationCall* call = chatty().held(0);
  EXPECT_FALSE(client.Readable(milliseconds(20)));
  call->OnStart(5);
  const std::string head = client.ReceiveUntil("\r\n\r\n");
  EXPECT_EQ(StatusOf(head), 200);
  EXPECT_NE(head.find("Content-Type: text/event-stream; charset=utf-8\r\n"), std::string::npos);
  EXPECT_NE(head.find("X-Request-Id: r-1\r\n"), std::string::npos);
  call->OnDelta(TextDelta(0, "first"));
  EXPECT_NE(client.ReceiveUntil("\n\n\r\n").find("\"first\""), std::string::npos);
  call->OnDelta(TextDelta(0, "second"));
  EXPECT_NE(client.ReceiveUntil("\n\n\r\n").find("\"second\""), std::string::npos);
  call->OnFinish(0, FinishReason::kStop);
  chatty().Finish(call, {}, FakeUsage(5, 2));
  EXPECT_NE(client.ReceiveUntil(kEndOfChunks).find("data: [DONE]\n\n"), std::string::npos);
  FakeLanguageModel::AnswerHello(chatty().held(0));  // the next request of the connection
  EXPECT_EQ(json::parse(BodyOf(client.Receive()))["choices"][0]["message"]["content"],
            "hello world");
}

TEST_F(OpenAiStreamTest, AClientThatLeavesCancelsWhetherItStreamsOrNot) {
  chatty().Hold(true);
  int leavers = 0;
  for (const bool stream : {false, true}) {
    for (const bool started : {false, true}) {
      RawClient client(server_->port());
      ASSERT_TRUE(client.Send(Chat(stream)));
      ASSERT_TRUE(Eventually([&] { return chatty().held_count() == 1; }));
      if (started) chatty().held(0)->OnStart(5);
      started ? client.Reset() : client.Close();
      ++leavers;
      EXPECT_TRUE(Eventually([&] { return chatty().cancels() == leavers; }));
      EXPECT_EQ(chatty().held_count(), 0U);
    }
  }
}

TEST_F(OpenAiStreamTest, ManyStreamsFromEngineThreadsWithLeaversAreAllAnswered) {
  chatty().Hold(true);
  constexpr size_t kCalls = 32;
  std::vector<std::unique_ptr<RawClient>> clients;
  for (size_t i = 0; i < kCalls; ++i) {
    clients.push_back(std::make_unique<RawClient>(server_->port()));
    ASSERT_TRUE(clients.back()->Send(Chat(true)));
    // In this order, so that the leavers are known.
    ASSERT_TRUE(Eventually([&] { return chatty().held_count() == i + 1; }));
  }
  std::vector<GenerationCall*> calls;
  for (size_t i = 0; i < kCalls; ++i) calls.push_back(chatty().held(i));
  chatty().KeepCancelled(true);
  std::vector<std::thread> engines;
  for (size_t t = 0; t < 4; ++t) {
    engines.emplace_back([&, t] {
      for (size_t i = t; i < kCalls; i += 4) calls[i]->OnStart(5);
      for (int token = 0; token < 100; ++token) {
        for (size_t i = t; i < kCalls; i += 4) calls[i]->OnDelta(TextDelta(0, "x"));
      }
      for (size_t i = t; i < kCalls; i += 4) {
        calls[i]->OnFinish(0, FinishReason::kLength);
        chatty().Finish(calls[i], {}, FakeUsage(5, 100));
      }
    });
  }
  for (size_t i = 0; i < kCalls; i += 4) clients[i]->Reset();
  for (size_t i = 0; i < kCalls; ++i) {
    if (i % 4 == 0) continue;
    const std::string events = Unchunked(BodyOf(clients[i]->ReceiveUntil(kEndOfChunks)));
    EXPECT_TRUE(events.ends_with("data: [DONE]\n\n"));
    size_t tokens = 0;
    for (size_t at = events.find("\"x\""); at != std::string::npos;
         at = events.find("\"x\"", at + 1))
      ++tokens;
    EXPECT_EQ(tokens, 100U);
  }
  for (std::thread& engine : engines) engine.join();
}

TEST_F(OpenAiStreamTest, TheServerMayEndWhileStreamsRun) {
  chatty().Hold(true);
  RawClient client(server_->port());
  ASSERT_TRUE(client.Send(Chat(true) + Chat(false)));
  ASSERT_TRUE(Eventually([&] { return chatty().held_count() == 2; }));
  chatty().held(0)->OnStart(5);
  server_.reset();
  EXPECT_EQ(chatty().cancels(), 2);
}

TEST_F(OpenAiStreamTest, WhatTheServerRefusesByItselfHasTheForm) {
  RawClient client(server_->port());
  client.Send(
      "POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100001\r\n\r\n");
  const std::string answer = client.Receive();
  EXPECT_EQ(StatusOf(answer), 413);
  EXPECT_EQ(json::parse(BodyOf(answer))["error"]["code"], "request_too_large");
  RawClient other(server_->port());
  other.Send(
      "POST /v2/models/echo/infer HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100001\r\n\r\n");
  EXPECT_TRUE(json::parse(BodyOf(other.Receive()))["error"].is_string());
}

}  // namespace
}  // namespace evenkeel
