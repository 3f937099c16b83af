#include <gtest/gtest.h>

#include <atomic>
#include <condition_variable>
#include <cstdlib>
#include <functional>
#include <mutex>
#include <thread>

#include "core/format.h"
#include "net/http_server.h"
#include "net/http_test_client.h"
#include "net/http_test_wire.h"
#include "net/io_loop.h"

namespace evenkeel {
namespace {

using std::chrono::milliseconds;

// /stream begins a stream and leaves it to the test; /beat one that beats every 20 ms; /now streams three pieces at once; all else is echoed.
class StreamHandler final : public HttpHandler {
 public:
  class Work final : public HttpWork {
   public:
    Work(StreamHandler* handler, HttpExchange* exchange) : handler_(handler), exchange_(exchange) {}
    void OnCancel() override { handler_->Cancelled(exchange_); }

   private:
    StreamHandler* const handler_;
    HttpExchange* const exchange_;
  };

  void Handle(HttpExchange& exchange) override {
    const std::string_view path = exchange.head().path;
    if (path == "/stream" || path == "/beat") return Begin(exchange, path == "/beat");
    HttpResponse response;
    response.content_type = "text/plain";
    if (path == "/now") {
      response.body = "one,";
      exchange.StartStream(std::move(response), {});
      EXPECT_TRUE(exchange.Send("two,"));
      EXPECT_TRUE(exchange.Send("three"));
      exchange.EndStream("X-Pieces: 3\r\n");
      return;
    }
    response.body.assign(reinterpret_cast<const char*>(exchange.body().data()),
                         exchange.body().size());
    exchange.Respond(std::move(response));
  }
  HttpResponse Refusal(std::string_view path, int status, std::string_view message) override {
    HttpResponse response = JsonError(status, message);
    response.body = fmt::format("refused {}: {}", path, status);
    return response;
  }

  // The i-th stream that began; null when it does not within ten seconds.
  HttpExchange* Stream(size_t i) {
    std::unique_lock lock(mutex_);
    changed_.wait_for(lock, std::chrono::seconds(10), [&] { return streams_.size() > i; });
    return streams_.size() > i ? streams_[i] : nullptr;
  }
  bool WaitForCancels(int cancels) {
    std::unique_lock lock(mutex_);
    return changed_.wait_for(lock, std::chrono::seconds(10), [&] { return cancels_ >= cancels; });
  }
  // A cancelled stream ends at once, on the loop's thread; false: the test ends it.
  void EndOnCancel(bool end) { end_on_cancel_ = end; }
  int cancels() {
    const std::lock_guard lock(mutex_);
    return cancels_;
  }

 private:
  void Begin(HttpExchange& exchange, bool beats) {
    exchange.Own(std::make_unique<Work>(this, &exchange));
    HttpResponse head;
    head.content_type = "text/plain";
    head.headers = "X-Tag: v\r\n";
    exchange.StartStream(std::move(head),
                         beats ? HttpHeartbeat{"beat;", milliseconds(20)} : HttpHeartbeat{});
    const std::lock_guard lock(mutex_);
    streams_.push_back(&exchange);
    changed_.notify_all();
  }
  void Cancelled(HttpExchange* exchange) {
    if (end_on_cancel_) {
      exchange->Send("cancelled");
      exchange->EndStream();
    }
    const std::lock_guard lock(mutex_);
    ++cancels_;
    changed_.notify_all();
  }

  std::mutex mutex_;
  std::condition_variable changed_;
  std::vector<HttpExchange*> streams_;
  int cancels_ = 0;
  std::atomic<bool> end_on_cancel_{true};  // set by tests, read on loops
};

class HttpStreamTest : public testing::TestWithParam<Wire> {
 protected:
  void Start(int loops = 1) {
    for (int i = 0; i < loops; ++i) {
      auto loop = IoLoop::Create("http");
      ASSERT_TRUE(loop.ok());
      loops_.push_back(std::move(*loop));
      loops_.back()->Start();
    }
    std::vector<IoLoop*> raw;
    for (const auto& loop : loops_) raw.push_back(loop.get());
    options_.tls = TlsForWire(GetParam());
    auto server = HttpServer::Listen(options_, &handler_, raw);
    ASSERT_TRUE(server.ok()) << server.status().ToString();
    server_ = std::move(*server);
  }
  RawTarget At() const { return {server_->port(), TlsVersionOf(GetParam())}; }
  static std::string Get(std::string_view path, std::string_view fields = "",
                         std::string_view version = "1.1") {
    return fmt::format("GET {} HTTP/{}\r\nHost: localhost\r\n{}\r\n", path, version, fields);
  }
  static std::string Post(std::string_view body) {
    return fmt::format("POST /echo HTTP/1.1\r\nHost: localhost\r\nContent-Length: {}\r\n\r\n{}",
                       body.size(), body);
  }

  StreamHandler handler_;
  HttpServerOptions options_;
  std::vector<std::unique_ptr<IoLoop>> loops_;
  std::unique_ptr<HttpServer> server_;
};

INSTANTIATE_TEST_SUITE_P(Over, HttpStreamTest, AllWires(), NameOfWire);

TEST_P(HttpStreamTest, PiecesGoOutAsChunksAndTheConnectionIsKept) {
  Start();
  RawClient client(At());
  ASSERT_TRUE(client.Send(Get("/stream", "X-Request-Id: r-7\r\n")));
  HttpExchange* stream = handler_.Stream(0);
  ASSERT_NE(stream, nullptr);
  const std::string head = client.ReceiveUntil("\r\n\r\n");
  EXPECT_EQ(StatusOf(head), 200);
  EXPECT_NE(head.find("\r\nTransfer-Encoding: chunked\r\n"), std::string::npos) << head;
  EXPECT_NE(head.find("\r\nX-Request-Id: r-7\r\n"), std::string::npos) << head;
  EXPECT_NE(head.find("\r\nX-Tag: v\r\n"), std::string::npos) << head;
  EXPECT_EQ(head.find("Content-Length"), std::string::npos) << head;
  EXPECT_TRUE(stream->Send("first"));
  EXPECT_EQ(client.ReceiveUntil("first\r\n"), "5\r\nfirst\r\n");
  EXPECT_TRUE(stream->Send(std::string(300, 'x')));
  EXPECT_EQ(client.ReceiveUntil("x\r\n"), "12c\r\n" + std::string(300, 'x') + "\r\n");
  stream->EndStream();
  EXPECT_EQ(client.ReceiveUntil("0\r\n\r\n"), "0\r\n\r\n");
  ASSERT_TRUE(client.Send(Post("after")));
  EXPECT_EQ(BodyOf(client.Receive()), "after");
}

TEST_P(HttpStreamTest, AStreamGivenInsideHandleIsWhole) {
  Start();
  RawClient client(At());
  ASSERT_TRUE(client.Send(Get("/now") + Post("next")));
  const std::string answer = client.ReceiveUntil("\r\n0\r\n");
  EXPECT_EQ(Unchunked(BodyOf(answer + "\r\n")), "one,two,three");
  EXPECT_EQ(client.ReceiveUntil("\r\n\r\n"), "X-Pieces: 3\r\n\r\n");
  EXPECT_EQ(BodyOf(client.Receive()), "next");
}

TEST_P(HttpStreamTest, LaterAnswersWaitForTheStreamBeforeThem) {
  Start(2);
  RawClient client(At());
  ASSERT_TRUE(client.Send(Get("/stream") + Get("/stream") + Post("third")));
  HttpExchange* first = handler_.Stream(0);
  HttpExchange* second = handler_.Stream(1);
  ASSERT_NE(second, nullptr);
  second->Send("2");
  second->EndStream();
  client.ReceiveUntil("\r\n\r\n");
  EXPECT_FALSE(client.Readable(milliseconds(50)));
  first->Send("1");
  EXPECT_EQ(client.ReceiveUntil("1\r\n1\r\n"), "1\r\n1\r\n");
  first->EndStream();
  EXPECT_EQ(client.ReceiveUntil("0\r\n\r\n"), "0\r\n\r\n");
  EXPECT_EQ(Unchunked(BodyOf(client.ReceiveUntil("0\r\n\r\n"))), "2");
  EXPECT_EQ(BodyOf(client.Receive()), "third");
}

TEST_P(HttpStreamTest, Http10GetsABodyThatEndsWithTheConnection) {
  Start();
  for (const std::string_view fields : {"", "Connection: keep-alive\r\n"}) {
    RawClient client(At());
    ASSERT_TRUE(client.Send(Get("/now", fields, "1.0") + Get("/now", fields, "1.0")));
    const std::string answer = client.ReceiveUntil("never");
    EXPECT_EQ(StatusOf(answer), 200);
    EXPECT_NE(answer.find("\r\nConnection: close\r\n"), std::string::npos) << answer;
    EXPECT_EQ(answer.find("Transfer-Encoding"), std::string::npos) << answer;
    EXPECT_EQ(BodyOf(answer), "one,two,three");
    EXPECT_TRUE(client.AtEnd());
  }
}

TEST_P(HttpStreamTest, HeadIsAnsweredWithoutABody) {
  Start();
  RawClient client(At());
  ASSERT_TRUE(client.Send("HEAD /now HTTP/1.1\r\nHost: localhost\r\n\r\n" + Post("next")));
  const std::string head = client.ReceiveUntil("\r\n\r\n");
  EXPECT_NE(head.find("Transfer-Encoding: chunked"), std::string::npos);
  EXPECT_EQ(BodyOf(client.Receive()), "next");
}

TEST_P(HttpStreamTest, ConnectionCloseIsHonouredAfterTheStream) {
  Start();
  RawClient client(At());
  ASSERT_TRUE(client.Send(Get("/now", "Connection: close\r\n")));
  const std::string answer = client.ReceiveUntil("0\r\n\r\n");
  EXPECT_NE(answer.find("Connection: close"), std::string::npos);
  EXPECT_EQ(Unchunked(BodyOf(answer)), "one,two,three");
  EXPECT_TRUE(client.AtEnd());
}

TEST_P(HttpStreamTest, AClientThatVanishesCancelsTheStream) {
  Start();
  auto client = std::make_unique<RawClient>(At());
  ASSERT_TRUE(client->Send(Get("/stream")));
  HttpExchange* stream = handler_.Stream(0);
  ASSERT_NE(stream, nullptr);
  handler_.EndOnCancel(false);
  client->Reset();
  ASSERT_TRUE(handler_.WaitForCancels(1));
  EXPECT_TRUE(stream->gone());
  EXPECT_FALSE(stream->Send("into the void"));
  stream->EndStream();
  EXPECT_EQ(server_->stats().cancelled, 1U);
}

TEST_P(HttpStreamTest, AHalfClosedClientCancelsTheStreamAndStillSeesItsEnd) {
  Start();
  RawClient client(At());
  ASSERT_TRUE(client.Send(Get("/stream")));
  ASSERT_NE(handler_.Stream(0), nullptr);
  client.EndSending();
  ASSERT_TRUE(handler_.WaitForCancels(1));
  EXPECT_EQ(Unchunked(BodyOf(client.ReceiveUntil("0\r\n\r\n"))), "cancelled");
  EXPECT_TRUE(client.AtEnd());
}

// What may wait is bounded: a client that does not read loses its stream instead of filling memory.
TEST_P(HttpStreamTest, AClientThatDoesNotReadIsCutOffAtTheLimit) {
  options_.limits.stream_bytes = 200'000;
  Start();
  RawClient client(At());
  ASSERT_TRUE(client.Send(Get("/stream")));
  HttpExchange* stream = handler_.Stream(0);
  ASSERT_NE(stream, nullptr);
  handler_.EndOnCancel(false);
  const std::string piece(10'000, 'x');
  size_t sent = 0;
  while (sent < (size_t{1} << 30) && stream->Send(piece)) {
    sent += piece.size();
    if (sent % 100'000 == 0) std::this_thread::sleep_for(milliseconds(1));
  }
  EXPECT_LT(sent, size_t{1} << 30);  // the kernel's buffers and the limit, not a gigabyte
  ASSERT_TRUE(handler_.WaitForCancels(1));
  EXPECT_FALSE(stream->Send(piece));
  stream->EndStream();
}

TEST_P(HttpStreamTest, ABurstWithinTheLimitReachesASlowReaderWhole) {
  Start();
  RawClient client(At());
  ASSERT_TRUE(client.Send(Get("/stream")));
  HttpExchange* stream = handler_.Stream(0);
  ASSERT_NE(stream, nullptr);
  std::string all;
  for (int i = 0; i < 5'000; ++i) {
    const std::string piece = fmt::format("piece {};", i);
    ASSERT_TRUE(stream->Send(piece));
    all += piece;
  }
  stream->EndStream();
  EXPECT_EQ(Unchunked(BodyOf(client.ReceiveUntil("\r\n0\r\n\r\n"))), all);
}

// No progress for write_time: the client is as good as gone, whatever the kernel still holds for it.
TEST_P(HttpStreamTest, AClientWithAFullWindowIsGivenUpAfterTheWriteTime) {
  options_.limits.write_time = milliseconds(300);
  options_.limits.stream_bytes = size_t{64} << 20;
  Start();
  RawClient client(At());
  ASSERT_TRUE(client.Send(Get("/stream")));
  HttpExchange* stream = handler_.Stream(0);
  ASSERT_NE(stream, nullptr);
  ASSERT_TRUE(stream->Send(std::string(size_t{32} << 20, 'x')));
  EXPECT_TRUE(handler_.WaitForCancels(1));
}

TEST_P(HttpStreamTest, ASilentStreamBeats) {
  options_.limits.linger_time = milliseconds(20);  // sets the pace of the look at all connections
  Start();
  RawClient client(At());
  ASSERT_TRUE(client.Send(Get("/beat")));
  HttpExchange* stream = handler_.Stream(0);
  ASSERT_NE(stream, nullptr);
  client.ReceiveUntil("\r\n\r\n");
  for (int i = 0; i < 3; ++i) EXPECT_EQ(client.ReceiveUntil("beat;\r\n"), "5\r\nbeat;\r\n");
  stream->EndStream();
  const std::string rest = client.ReceiveUntil("0\r\n\r\n");
  EXPECT_TRUE(rest.ends_with("0\r\n\r\n")) << rest;
}

TEST_P(HttpStreamTest, DrainWaitsForTheStreamThenCloses) {
  Start();
  RawClient client(At());
  ASSERT_TRUE(client.Send(Get("/stream")));
  HttpExchange* stream = handler_.Stream(0);
  ASSERT_NE(stream, nullptr);
  client.ReceiveUntil("\r\n\r\n");
  server_->Drain();
  EXPECT_FALSE(RawClient(At()).connected());
  EXPECT_TRUE(stream->Send("rest"));
  EXPECT_EQ(client.ReceiveUntil("rest\r\n"), "4\r\nrest\r\n");
  stream->EndStream();
  EXPECT_EQ(client.ReceiveUntil("0\r\n\r\n"), "0\r\n\r\n");
  EXPECT_TRUE(client.AtEnd());
}

TEST_P(HttpStreamTest, DestroyingTheServerCancelsStreamsAndWaitsForTheirEnd) {
  Start(2);
  RawClient a(At()), b(At());
  a.Send(Get("/stream"));
  b.Send(Get("/stream"));
  ASSERT_NE(handler_.Stream(1), nullptr);
  server_.reset();
  EXPECT_EQ(handler_.cancels(), 2);
}

// Pieces and ends from several threads, clients that stay and clients that leave.
TEST_P(HttpStreamTest, StreamsFromManyThreadsAreWholeOrCancelled) {
  Start(2);
  handler_.EndOnCancel(false);
  constexpr size_t kStreams = 48;
  std::vector<std::unique_ptr<RawClient>> clients;
  for (size_t i = 0; i < kStreams; ++i) {
    clients.push_back(std::make_unique<RawClient>(At()));
    ASSERT_TRUE(clients.back()->Send(Get("/stream")));
    ASSERT_NE(handler_.Stream(i), nullptr);  // so that the i-th stream is the i-th client's
  }
  std::vector<std::thread> writers;
  for (size_t t = 0; t < 4; ++t) {
    writers.emplace_back([&, t] {
      for (int piece = 0; piece < 50; ++piece) {
        for (size_t i = t; i < kStreams; i += 4)
          handler_.Stream(i)->Send(fmt::format("{};", piece));
      }
      for (size_t i = t; i < kStreams; i += 4) handler_.Stream(i)->EndStream();
    });
  }
  for (size_t i = 0; i < kStreams; i += 3) clients[i]->Reset();
  std::string expected;
  for (int piece = 0; piece < 50; ++piece) expected += fmt::format("{};", piece);
  for (size_t i = 0; i < kStreams; ++i) {
    if (i % 3 == 0) continue;
    EXPECT_EQ(Unchunked(BodyOf(clients[i]->ReceiveUntil("\r\n0\r\n\r\n"))), expected);
  }
  for (std::thread& writer : writers) writer.join();
}

TEST_P(HttpStreamTest, RefusalsAreInTheHandlersWords) {
  options_.limits.body_bytes = 10;
  Start();
  RawClient large(At());
  large.Send("POST /v1/x HTTP/1.1\r\nHost: localhost\r\nContent-Length: 11\r\n\r\n");
  EXPECT_EQ(BodyOf(large.Receive()), "refused /v1/x: 413");
  RawClient broken(At());
  broken.Send("POST /v1/x HTTP/1.1\r\nno host\r\n\r\n");
  EXPECT_EQ(BodyOf(broken.Receive()), "refused : 400");
}

}  // namespace
}  // namespace evenkeel
