#include "net/http_client.h"

#include <gtest/gtest.h>

#include <atomic>
#include <condition_variable>
#include <mutex>
#include <thread>

#include "net/http_server.h"
#include "net/io_loop.h"
#include "net/tls_context.h"
#include "net/tls_test_pair.h"

namespace evenkeel {
namespace {

using std::chrono::milliseconds;

// /whole streams three pieces; /wait streams one and leaves the rest to the test; all else is a 404 with a body.
class Handler final : public HttpHandler {
 public:
  void Handle(HttpExchange& exchange) override {
    if (exchange.head().path == "/whole" || exchange.head().path == "/wait") {
      exchange.StartStream({200, "text/plain", "X-A: b\r\n", "one,"}, {});
      if (exchange.head().path == "/whole") {
        exchange.Send("two,");
        exchange.Send("three");
        exchange.EndStream();
        return;
      }
      class Work final : public HttpWork {
       public:
        Work(Handler* handler, HttpExchange* call) : handler_(handler), call_(call) {}
        void OnCancel() override {
          call_->EndStream();
          const std::lock_guard lock(handler_->mutex_);
          handler_->cancelled_ = true;
          handler_->changed_.notify_all();
        }

       private:
        Handler* const handler_;
        HttpExchange* const call_;
      };
      exchange.Own(std::make_unique<Work>(this, &exchange));
      return;
    }
    exchange.Respond(JsonError(404, "no such path"));
  }
  bool WaitForCancel() {
    std::unique_lock lock(mutex_);
    return changed_.wait_for(lock, std::chrono::seconds(10), [this] { return cancelled_; });
  }

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  bool cancelled_ = false;
};

// Over http and https.
class HttpStreamClientTest : public testing::TestWithParam<bool> {
 protected:
  void SetUp() override {
    auto loop = IoLoop::Create("http");
    ASSERT_TRUE(loop.ok());
    loop_ = std::move(*loop);
    loop_->Start();
    HttpServerOptions options;
    if (GetParam()) {
      auto tls = TlsServerContext::Load(pair_.files());
      ASSERT_TRUE(tls.ok());
      options.tls = std::move(*tls);
    }
    auto server = HttpServer::Listen(options, &handler_, {loop_.get()});
    ASSERT_TRUE(server.ok());
    server_ = std::move(*server);
  }
  std::string Url() const {
    return (GetParam() ? "https://127.0.0.1:" : "http://127.0.0.1:") +
           std::to_string(server_->port());
  }
  Result<HttpAnswer> Ask(const std::string& path, std::function<bool()> stopped = {},
                         Duration timeout = std::chrono::seconds(20)) {
    HttpCall call;
    call.server = Url();
    call.ca_file = pair_.files().certificate;
    call.target = path;
    call.timeout = timeout;
    return StreamHttp(call,
                      {[this](std::string_view piece) { got_.append(piece); }, std::move(stopped)});
  }

  const TlsTestPair pair_;
  Handler handler_;
  std::unique_ptr<IoLoop> loop_;
  std::unique_ptr<HttpServer> server_;
  std::string got_;
};

INSTANTIATE_TEST_SUITE_P(Over, HttpStreamClientTest, testing::Bool());

TEST_P(HttpStreamClientTest, PiecesAreHandedOn) {
  const auto answer = Ask("/whole");
  ASSERT_TRUE(answer.ok()) << answer.status().ToString();
  EXPECT_EQ(answer->status, 200);
  EXPECT_EQ(answer->body, "");
  EXPECT_EQ(got_, "one,two,three");
}

TEST_P(HttpStreamClientTest, ARefusalComesBackWhole) {
  const auto answer = Ask("/nothing");
  ASSERT_TRUE(answer.ok());
  EXPECT_EQ(answer->status, 404);
  EXPECT_EQ(answer->body, R"({"error":"no such path"})");
  EXPECT_EQ(got_, "");
}

TEST_P(HttpStreamClientTest, StoppingClosesTheConnection) {
  const auto answer = Ask("/wait", [this] { return !got_.empty(); });
  EXPECT_EQ(answer.status().code(), Code::kCancelled);
  EXPECT_EQ(got_, "one,");
  EXPECT_TRUE(handler_.WaitForCancel());
}

TEST_P(HttpStreamClientTest, SilenceEndsAtTheTimeout) {
  const auto answer = Ask(
      "/wait", [] { return false; }, milliseconds(1000));
  EXPECT_EQ(answer.status().code(), Code::kDeadlineExceeded);
  EXPECT_TRUE(handler_.WaitForCancel());
}

// The timeout falls on a look at `stopped`, which must not go on for ever.
TEST_P(HttpStreamClientTest, TheTimeoutAndALookMayComeTogether) {
  int looks = 0;
  for (int i = 0; i < 8; ++i) {
    const auto look = [&looks] {
      std::this_thread::sleep_for(milliseconds(2));
      return ++looks > 1'000;
    };
    const auto answer = Ask("/wait", look, milliseconds(400));
    EXPECT_EQ(answer.status().code(), Code::kDeadlineExceeded);
  }
  EXPECT_LT(looks, 100);
}

TEST_P(HttpStreamClientTest, AStreamThatBreaksOffIsAnError) {
  std::atomic<bool> ended{false};
  const auto answer = Ask("/wait", [&] {
    if (!got_.empty() && !ended.exchange(true)) server_.reset();
    return false;
  });
  EXPECT_EQ(answer.status().code(), Code::kUnavailable) << answer.status().ToString();
  EXPECT_EQ(got_, "one,");
}

TEST_P(HttpStreamClientTest, NobodyThereIsUnavailable) {
  const std::string url = Url();
  server_.reset();
  HttpCall call;
  call.server = url;
  call.ca_file = pair_.files().certificate;
  EXPECT_EQ(StreamHttp(call, {[](std::string_view) {}, {}}).status().code(), Code::kUnavailable);
}

}  // namespace
}  // namespace evenkeel
