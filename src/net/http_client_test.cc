#include "net/http_client.h"

#include <arpa/inet.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/socket.h>
#include <unistd.h>

#include <string>
#include <thread>

namespace evenkeel {
namespace {

using testing::HasSubstr;

// Takes one connection, reads a request's head, sends `answer` and closes.
class OneAnswer {
 public:
  explicit OneAnswer(std::string answer)
      : listener_(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)) {
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t size = sizeof address;
    EXPECT_EQ(::bind(listener_, reinterpret_cast<sockaddr*>(&address), size), 0);
    EXPECT_EQ(::listen(listener_, 1), 0);
    ::getsockname(listener_, reinterpret_cast<sockaddr*>(&address), &size);
    url = "http://127.0.0.1:" + std::to_string(ntohs(address.sin_port));
    thread_ = std::thread([this, answer] { Serve(answer); });
  }
  ~OneAnswer() {
    thread_.join();
    ::close(listener_);
  }
  std::string url;
  std::string request;

 private:
  void Serve(const std::string& answer) {
    const int fd = ::accept(listener_, nullptr, nullptr);
    char buffer[4096];
    while (request.find("\r\n\r\n") == std::string::npos ||
           (request.starts_with("POST") && !request.ends_with("}"))) {
      const ssize_t n = ::recv(fd, buffer, sizeof buffer, 0);
      if (n <= 0) break;
      request.append(buffer, static_cast<size_t>(n));
    }
    if (answer == "wait") {
      (void)::recv(fd, buffer, sizeof buffer, 0);  // until the client gives up
    } else {
      (void)::send(fd, answer.data(), answer.size(), MSG_NOSIGNAL);
    }
    ::close(fd);
  }
  int listener_;
  std::thread thread_;
};

Result<HttpAnswer> Get(const std::string& server, const std::string& target = "/",
                       Duration timeout = std::chrono::seconds(20)) {
  HttpCall call;
  call.server = server;
  call.target = target;
  call.timeout = timeout;
  return CallHttp(call);
}

TEST(HttpClientTest, GivesStatusHeadersAndBody) {
  OneAnswer server("HTTP/1.1 404 Not Found\r\nContent-Length: 2\r\nX-A: b\r\n\r\nno");
  const auto answer = Get(server.url, "/v2/models/a%20b");
  ASSERT_TRUE(answer.ok()) << answer.status().ToString();
  EXPECT_EQ(answer->status, 404);
  EXPECT_EQ(answer->body, "no");
  EXPECT_THAT(answer->headers, testing::Contains(testing::Pair("X-A", "b")));
  EXPECT_THAT(server.request, testing::StartsWith("GET /v2/models/a%20b HTTP/1.1\r\n"));
}

TEST(HttpClientTest, PostsABody) {
  OneAnswer server("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n");
  HttpCall call;
  call.server = server.url + "/";
  call.method = "POST";
  call.target = "/x";
  call.body = "{}";
  const auto answer = CallHttp(call);
  ASSERT_TRUE(answer.ok()) << answer.status().ToString();
  EXPECT_EQ(answer->body, "abc");
  EXPECT_THAT(server.request, HasSubstr("Content-Length: 2\r\n"));
  EXPECT_THAT(server.request, HasSubstr("Content-Type: application/json\r\n"));
}

TEST(HttpClientTest, SilenceEndsAtTheTimeout) {
  OneAnswer server("wait");
  const auto answer = Get(server.url, "/", std::chrono::milliseconds(500));
  EXPECT_EQ(answer.status().code(), Code::kDeadlineExceeded);
}

TEST(HttpClientTest, NobodyThereIsUnavailable) {
  std::string url;
  {
    OneAnswer server("");
    url = server.url;
    EXPECT_EQ(Get(url).status().code(), Code::kUnavailable);  // closed without an answer
  }
  EXPECT_EQ(Get(url).status().code(), Code::kUnavailable);
}

TEST(HttpClientTest, SomethingElseThanHttpIsInternal) {
  OneAnswer server("SSH-2.0-OpenSSH_9.2\r\n\r\n");
  EXPECT_EQ(Get(server.url).status().code(), Code::kInternal);
}

TEST(HttpClientTest, UrlsAreChecked) {
  for (const char* url : {"127.0.0.1:1", "http://", "http://a/b", "http://u@h", "http://h:",
                          "http://h:1x", "http://h:123456", "http://[::1", "http://a b"}) {
    EXPECT_EQ(Get(url).status().code(), Code::kInvalidArgument) << url;
  }
}

TEST(HttpClientTest, UrlsSayWhereTheyLead) {
  const auto plain = ParseServerUrl("http://a.example/");
  ASSERT_TRUE(plain.ok());
  EXPECT_EQ(plain->port, "80");
  EXPECT_FALSE(plain->tls);
  const auto secure = ParseServerUrl("https://[::1]");
  ASSERT_TRUE(secure.ok());
  EXPECT_EQ(secure->host, "::1");
  EXPECT_EQ(secure->port, "443");
  EXPECT_TRUE(secure->tls);
  EXPECT_FALSE(ParseServerUrl("https://").ok());
  EXPECT_FALSE(ParseServerUrl("ftp://a").ok());
}

TEST(HttpClientTest, PathPartsAreEscaped) {
  EXPECT_EQ(EscapePathPart("a.b-C_1~"), "a.b-C_1~");
  EXPECT_EQ(EscapePathPart("a/b?\xc3\xa4 "), "a%2Fb%3F%C3%A4%20");
}

}  // namespace
}  // namespace evenkeel
