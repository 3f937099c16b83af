// Whom the command line's client believes to be the server that it asked for.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "net/http_client.h"
#include "net/http_server.h"
#include "net/io_loop.h"
#include "net/tls_context.h"
#include "net/tls_test_pair.h"

namespace evenkeel {
namespace {

using testing::HasSubstr;

class Hello final : public HttpHandler {
 public:
  void Handle(HttpExchange& exchange) override {
    HttpResponse response;
    response.body = "hello";
    exchange.Respond(std::move(response));
  }
};

class HttpClientTlsTest : public testing::Test {
 protected:
  void Start(bool tls = true) {
    auto loop = IoLoop::Create("http");
    ASSERT_TRUE(loop.ok());
    loop_ = std::move(*loop);
    loop_->Start();
    HttpServerOptions options;
    if (tls) {
      auto context = TlsServerContext::Load(pair_.files());
      ASSERT_TRUE(context.ok());
      options.tls = std::move(*context);
    }
    auto server = HttpServer::Listen(options, &handler_, {loop_.get()});
    ASSERT_TRUE(server.ok());
    server_ = std::move(*server);
  }
  Result<HttpAnswer> Ask(const std::string& scheme, const std::string& host,
                         const std::string& trusted) {
    HttpCall call;
    call.server = scheme + "://" + host + ":" + std::to_string(server_->port());
    call.ca_file = trusted;
    call.target = "/";
    call.timeout = std::chrono::seconds(5);
    return CallHttp(call);
  }
  const std::string& Own() const { return pair_.files().certificate; }

  TlsTestPair pair_;
  Hello handler_;
  std::unique_ptr<IoLoop> loop_;
  std::unique_ptr<HttpServer> server_;
};

TEST_F(HttpClientTlsTest, AsksByNameAndByAddress) {
  Start();
  for (const char* host : {"127.0.0.1", "localhost"}) {
    const auto answer = Ask("https", host, Own());
    ASSERT_TRUE(answer.ok()) << answer.status().ToString();
    EXPECT_EQ(answer->body, "hello");
  }
}

TEST_F(HttpClientTlsTest, AServerOfAnotherNameIsRefused) {
  TlsTestPair::Wanted wanted;
  wanted.names = "DNS:other.example,IP:127.0.0.2";
  pair_.Write(wanted);
  Start();
  for (const char* host : {"127.0.0.1", "localhost"}) {
    const Status status = Ask("https", host, Own()).status();
    EXPECT_EQ(status.code(), Code::kUnauthenticated) << status.ToString();
    EXPECT_THAT(status.message(), HasSubstr(std::string("is not for '") + host + "'"));
  }
}

TEST_F(HttpClientTlsTest, ACertificateThatNobodyNamedIsRefused) {
  Start();
  const TlsTestPair other;
  for (const std::string& trusted : {other.files().certificate, std::string()}) {
    const Status status = Ask("https", "127.0.0.1", trusted).status();
    EXPECT_EQ(status.code(), Code::kUnauthenticated) << status.ToString();
    EXPECT_THAT(status.message(), HasSubstr("is not trusted: self-signed certificate"));
  }
}

TEST_F(HttpClientTlsTest, AnExpiredCertificateIsRefused) {
  TlsTestPair::Wanted wanted;
  wanted.from = -std::chrono::hours(48);
  wanted.to = -std::chrono::hours(24);
  pair_.Write(wanted);
  Start();
  const Status status = Ask("https", "127.0.0.1", Own()).status();
  EXPECT_EQ(status.code(), Code::kUnauthenticated);
  EXPECT_THAT(status.message(), HasSubstr("certificate has expired"));
}

TEST_F(HttpClientTlsTest, AFileWithoutCertificatesIsAnErrorBeforeAnybodyIsAsked) {
  Start();
  const Status missing = Ask("https", "127.0.0.1", "/no/such.pem").status();
  EXPECT_EQ(missing.code(), Code::kInvalidArgument);
  EXPECT_THAT(missing.message(), HasSubstr("/no/such.pem"));
  EXPECT_EQ(Ask("https", "127.0.0.1", pair_.files().key).status().code(), Code::kInvalidArgument);
  EXPECT_EQ(server_->stats().accepted, 0U);
}

TEST_F(HttpClientTlsTest, TheWrongSchemeSaysSo) {
  Start();
  const auto answer = Ask("http", "127.0.0.1", "");
  ASSERT_TRUE(answer.ok()) << answer.status().ToString();
  EXPECT_EQ(answer->status, 400);
  EXPECT_THAT(answer->body, HasSubstr("expected https://"));
  server_.reset();
  Start(/*tls=*/false);
  const Status status = Ask("https", "127.0.0.1", Own()).status();
  EXPECT_EQ(status.code(), Code::kInternal);
  EXPECT_THAT(status.message(), HasSubstr("is it http:// ?"));
}

}  // namespace
}  // namespace evenkeel
