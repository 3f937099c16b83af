// What is TLS's own about the HTTP server: handshakes, and clients that do not play by its rules. All else is in http_server_test and
// http_stream_test, which run over TLS too.
#include <gtest/gtest.h>

#include <atomic>
#include <thread>

#include "core/format.h"
#include "net/http_server.h"
#include "net/http_test_client.h"
#include "net/io_loop.h"
#include "net/tls_context.h"
#include "net/tls_test_pair.h"

namespace evenkeel {
namespace {

using std::chrono::milliseconds;

class Echo final : public HttpHandler {
 public:
  void Handle(HttpExchange& exchange) override {
    HttpResponse response;
    response.body.assign(reinterpret_cast<const char*>(exchange.body().data()),
                         exchange.body().size());
    exchange.Respond(std::move(response));
  }
};

class HttpTlsTest : public testing::Test {
 protected:
  void Start() {
    auto loop = IoLoop::Create("http");
    ASSERT_TRUE(loop.ok());
    loop_ = std::move(*loop);
    loop_->Start();
    auto tls = TlsServerContext::Load(pair_.files(), clock_);
    ASSERT_TRUE(tls.ok()) << tls.status().ToString();
    options_.tls = std::move(*tls);
    auto server = HttpServer::Listen(options_, &handler_, {loop_.get()});
    ASSERT_TRUE(server.ok()) << server.status().ToString();
    server_ = std::move(*server);
  }
  void TearDown() override { server_.reset(); }

  RawTarget Tls(int version = TLS1_3_VERSION) const { return {server_->port(), version}; }
  static std::string Post(std::string_view body) {
    return fmt::format("POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: {}\r\n\r\n{}",
                       body.size(), body);
  }
  void ExpectAlive() {
    RawClient client(Tls());
    ASSERT_TRUE(client.connected());
    client.Send(Post("alive"));
    EXPECT_EQ(BodyOf(client.Receive()), "alive");
  }
  template <typename Condition>
  static bool Eventually(Condition condition) {
    const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(10);
    while (!condition()) {
      if (std::chrono::steady_clock::now() > end) return false;
      std::this_thread::yield();
    }
    return true;
  }
  bool LostAtLeast(uint64_t n) {
    return Eventually([&] { return server_->stats().lost_handshakes >= n; });
  }
  // The common name of the certificate that the server shows now.
  std::string NameShown() {
    RawClient client(Tls());
    X509* const shown = SSL_get0_peer_certificate(client.tls().session());
    return shown == nullptr ? "" : FactsOf(shown).subject;
  }
  // The first message of a client, as bytes.
  static std::string ClientHello() {
    const openssl::Context context(SSL_CTX_new(TLS_client_method()), SSL_CTX_free);
    SSL* const session = SSL_new(context.get());
    BIO* const out = BIO_new(BIO_s_mem());
    SSL_set_bio(session, BIO_new(BIO_s_mem()), out);
    SSL_connect(session);
    std::string hello = openssl::TextOf(out);
    SSL_free(session);
    return hello;
  }

  TlsTestPair pair_;
  ManualClock clock_;
  Echo handler_;
  HttpServerOptions options_;
  std::unique_ptr<IoLoop> loop_;
  std::unique_ptr<HttpServer> server_;
};

TEST_F(HttpTlsTest, SpeaksTheNewestVersionThatTheClientDoes) {
  Start();
  for (const int version : {TLS1_2_VERSION, TLS1_3_VERSION}) {
    RawClient client(Tls(version));
    ASSERT_TRUE(client.connected());
    EXPECT_EQ(SSL_version(client.tls().session()), version);
    EXPECT_EQ(SSL_get_current_compression(client.tls().session()), nullptr);
  }
  EXPECT_FALSE(RawClient(Tls(TLS1_1_VERSION)).connected());
  EXPECT_TRUE(LostAtLeast(1));
  ExpectAlive();
}

TEST_F(HttpTlsTest, ChoosesHttp11ByAlpnAndRefusesClientsThatWantSomethingElse) {
  Start();
  const std::pair<std::string, bool> cases[] = {
      {"\x08http/1.1", true}, {"\x02h2\x08http/1.1", true}, {"\x02h2", false}, {"", true}};
  for (const auto& [protocols, good] : cases) {
    RawClient socket(server_->port());
    TlsTestClient client(socket.fd(), TLS1_3_VERSION);
    if (!protocols.empty())
      SSL_set_alpn_protos(client.session(),
                          reinterpret_cast<const unsigned char*>(protocols.data()),
                          static_cast<unsigned int>(protocols.size()));
    ASSERT_EQ(client.Handshake(), good) << protocols;
    const unsigned char* chosen = nullptr;
    unsigned int size = 0;
    SSL_get0_alpn_selected(client.session(), &chosen, &size);
    if (good && !protocols.empty()) {
      EXPECT_EQ(std::string(reinterpret_cast<const char*>(chosen), size), "http/1.1");
    }
  }
}

TEST_F(HttpTlsTest, PlainHttpIsAnsweredInPlain) {
  Start();
  RawClient client(server_->port());
  client.Send(Post(std::string(5000, 'x')));
  const std::string response = client.Receive();
  EXPECT_EQ(StatusOf(response), 400);
  EXPECT_NE(BodyOf(response).find("expected https://"), std::string::npos) << response;
  EXPECT_TRUE(client.AtEnd());
  EXPECT_EQ(server_->stats().requests, 0U);
  ExpectAlive();
}

TEST_F(HttpTlsTest, GarbageInsteadOfAHandshakeEndsTheConnection) {
  Start();
  const std::string hello = ClientHello();
  const std::string all[] = {std::string("\x16\x03\x01\x00\x05hello", 10),
                             std::string("\x16\x03\x01\xff\xff", 5) + std::string(70'000, 'x'),
                             std::string("\x00\x00\x00\x00\x00\x00", 6),
                             std::string("\x80\x2e\x01\x00\x02", 5) + std::string(50, '\x01'),
                             std::string("\x15\x03\x01\x00\x02\x02\x28", 7),
                             std::string("\x17\x03\x03\x00\x01x", 6),
                             std::string(200, '\xff'),
                             hello + std::string(100, '\x16'),
                             hello + hello};
  uint64_t lost = 0;
  for (const std::string& bytes : all) {
    RawClient client(server_->port());
    client.Send(bytes);
    EXPECT_TRUE(LostAtLeast(++lost)) << lost;
    client.ReceiveUntil("never");  // an alert, perhaps; then the end
    EXPECT_TRUE(client.AtEnd()) << lost;
  }
  EXPECT_TRUE(Eventually([&] { return server_->stats().open == 0; }));
  ExpectAlive();
}

TEST_F(HttpTlsTest, HalfAHandshakeIsGivenTheTimeOfARequest) {
  options_.limits.request_time = milliseconds(300);
  Start();
  const std::string hello = ClientHello();
  const Time start = SteadyClock::Instance().Now();
  RawClient half(server_->port()), silent(server_->port());
  half.Send(std::string_view(hello).substr(0, hello.size() / 2));
  EXPECT_TRUE(half.AtEnd());
  EXPECT_TRUE(silent.AtEnd());
  EXPECT_GE(SteadyClock::Instance().Now() - start, milliseconds(200));
  EXPECT_TRUE(LostAtLeast(2));
}

TEST_F(HttpTlsTest, AHandshakeMayComeByteByByte) {
  Start();
  for (const int version : {TLS1_2_VERSION, TLS1_3_VERSION}) {
    RawClient socket(server_->port());
    TlsTestClient client(socket.fd(), version);
    // Over a pair of buffers, so that each byte can be a packet of its own.
    BIO* const in = BIO_new(BIO_s_mem());
    BIO* const out = BIO_new(BIO_s_mem());
    SSL_set_bio(client.session(), in, out);
    const auto send = [&] {
      for (const char c : openssl::TextOf(out)) ASSERT_TRUE(socket.Send({&c, 1}));
      (void)BIO_reset(out);
    };
    const auto receive = [&] {
      char bytes[4096];
      ASSERT_TRUE(socket.Readable(std::chrono::seconds(10)));
      const ssize_t n = ::recv(socket.fd(), bytes, sizeof bytes, 0);
      ASSERT_GT(n, 0);
      BIO_write(in, bytes, static_cast<int>(n));
    };
    while (SSL_do_handshake(client.session()) != 1) {
      ASSERT_NO_FATAL_FAILURE(send());
      ASSERT_NO_FATAL_FAILURE(receive());
    }
    const std::string request = Post("slow");
    SSL_write(client.session(), request.data(), static_cast<int>(request.size()));
    send();
    char answer[4096];
    int size = 0;
    while ((size = SSL_read(client.session(), answer, sizeof answer)) <= 0)
      ASSERT_NO_FATAL_FAILURE(receive());
    EXPECT_EQ(BodyOf({answer, static_cast<size_t>(size)}), "slow");
  }
  EXPECT_EQ(server_->stats().lost_handshakes, 0U);
}

// Those that say nothing must not keep out those that do.
TEST_F(HttpTlsTest, TheOldestHandshakeMakesRoomForANewOne) {
  options_.limits.handshakes = 4;
  Start();
  std::vector<std::unique_ptr<RawClient>> silent;
  for (int i = 0; i < 12; ++i) silent.push_back(std::make_unique<RawClient>(server_->port()));
  EXPECT_TRUE(LostAtLeast(8));
  ExpectAlive();
  EXPECT_EQ(server_->stats().lost_handshakes, 9U);
  EXPECT_TRUE(silent[0]->AtEnd());
  EXPECT_FALSE(silent[11]->Readable(milliseconds(0)));
}

TEST_F(HttpTlsTest, ManyHandshakesAtOnceAllSucceedAndOthersAreAnsweredMeanwhile) {
  Start();
  RawClient other(Tls());
  std::atomic<int> good{0};
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([&] {
      for (int i = 0; i < 25; ++i) {
        RawClient client(Tls(i % 2 == 0 ? TLS1_2_VERSION : TLS1_3_VERSION));
        client.Send(Post("x"));
        good += BodyOf(client.Receive()) == "x";
      }
    });
  }
  for (int i = 0; i < 50; ++i) {
    other.Send(Post("quick"));
    ASSERT_EQ(BodyOf(other.Receive()), "quick");
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(good, 100);
}

TEST_F(HttpTlsTest, RenegotiationIsRefused) {
  Start();
  RawClient client(Tls(TLS1_2_VERSION));
  client.Send(Post("before"));
  EXPECT_EQ(BodyOf(client.Receive()), "before");
  SSL_renegotiate(client.tls().session());
  EXPECT_FALSE(client.tls().Handshake());
  ExpectAlive();
}

// TLS 1.3: the client changes its keys and wants the server to change its own.
TEST_F(HttpTlsTest, KeysMayBeChanged) {
  Start();
  RawClient client(Tls());
  for (int i = 0; i < 20; ++i) {
    ASSERT_EQ(SSL_key_update(client.tls().session(), SSL_KEY_UPDATE_REQUESTED), 1);
    if (i % 2 == 0) {
      ASSERT_TRUE(client.tls().Handshake());  // sent at once; else with the next bytes
    }
    client.Send(Post(std::to_string(i)));
    ASSERT_EQ(BodyOf(client.Receive()), std::to_string(i));
  }
}

TEST_F(HttpTlsTest, AnEndWithoutAWordOfTlsIsAnEndLikeAnyOther) {
  Start();
  RawClient between(Tls()), inside(Tls()), whole(Tls());
  between.Send(Post("x"));
  EXPECT_EQ(BodyOf(between.Receive()), "x");
  between.CutSending();
  EXPECT_TRUE(between.AtEnd());
  const std::string request = Post("0123456789");
  inside.Send(std::string_view(request).substr(0, request.size() - 5));
  inside.CutSending();
  EXPECT_EQ(StatusOf(inside.Receive()), 400);
  whole.Send(request);
  whole.CutSending();
  EXPECT_EQ(BodyOf(whole.Receive()), "0123456789");
  ExpectAlive();
}

// A record that nobody with the keys has written.
TEST_F(HttpTlsTest, BytesThatAreNotOfTheSessionEndIt) {
  Start();
  for (const int version : {TLS1_2_VERSION, TLS1_3_VERSION}) {
    RawClient client(Tls(version));
    client.Send(Post("x"));
    EXPECT_EQ(BodyOf(client.Receive()), "x");
    const std::string forged = std::string("\x17\x03\x03\x00\x20", 5) + std::string(32, 'f');
    ::send(client.fd(), forged.data(), forged.size(), MSG_NOSIGNAL);
    EXPECT_TRUE(client.AtEnd());
  }
  ExpectAlive();
}

TEST_F(HttpTlsTest, TheServersEndIsSaidInTls) {
  Start();
  RawClient client(Tls());
  client.Send("GET / HTTP/1.0\r\n\r\n");
  EXPECT_EQ(StatusOf(client.Receive()), 200);
  EXPECT_TRUE(client.AtEnd());
  EXPECT_NE(SSL_get_shutdown(client.tls().session()) & SSL_RECEIVED_SHUTDOWN, 0);
}

TEST_F(HttpTlsTest, SessionsAreResumedByTickets) {
  Start();
  RawClient first(Tls());
  first.Send(Post("x"));
  EXPECT_EQ(BodyOf(first.Receive()), "x");  // the ticket has come as well
  SSL_SESSION* const session = SSL_get1_session(first.tls().session());
  RawClient socket(server_->port());
  TlsTestClient second(socket.fd(), TLS1_3_VERSION);
  SSL_set_session(second.session(), session);
  SSL_SESSION_free(session);
  ASSERT_TRUE(second.Handshake());
  EXPECT_EQ(SSL_session_reused(second.session()), 1);
}

TEST_F(HttpTlsTest, ARenewedPairIsUsedForNewConnectionsAndABrokenOneIsNot) {
  Start();
  EXPECT_EQ(NameShown(), "CN = test");
  RawClient old(Tls());
  TlsTestPair::Wanted renewed;
  renewed.name = "renewed";
  pair_.Write(renewed);
  EXPECT_EQ(NameShown(), "CN = test");  // not looked at again so soon
  clock_.Advance(std::chrono::seconds(3));
  EXPECT_EQ(NameShown(), "CN = renewed");
  old.Send(Post("still here"));
  EXPECT_EQ(BodyOf(old.Receive()), "still here");

  TlsTestPair::Replace(pair_.files().certificate, "no certificate");
  clock_.Advance(std::chrono::seconds(3));
  EXPECT_EQ(NameShown(), "CN = renewed");
  const TlsTestPair other;
  std::filesystem::copy_file(other.files().certificate, pair_.files().certificate,
                             std::filesystem::copy_options::overwrite_existing);
  clock_.Advance(std::chrono::seconds(3));
  EXPECT_EQ(NameShown(), "CN = renewed");  // the key is another's
  renewed.name = "mended";
  pair_.Write(renewed);
  clock_.Advance(std::chrono::seconds(3));
  EXPECT_EQ(NameShown(), "CN = mended");
}

TEST_F(HttpTlsTest, DrainClosesWhatIsStillShakingHands) {
  Start();
  RawClient silent(server_->port()), idle(Tls());
  EXPECT_TRUE(Eventually([&] { return server_->stats().open == 2; }));
  server_->Drain();
  EXPECT_TRUE(silent.AtEnd());
  EXPECT_TRUE(idle.AtEnd());
  EXPECT_TRUE(Eventually([&] { return server_->stats().open == 0; }));
}

TEST_F(HttpTlsTest, TheServerMayGoWhileHandshakesAreUnderWay) {
  Start();
  std::vector<std::unique_ptr<RawClient>> silent;
  for (int i = 0; i < 5; ++i) silent.push_back(std::make_unique<RawClient>(server_->port()));
  silent[0]->Send(ClientHello());
  server_.reset();
  for (auto& client : silent) {
    client->ReceiveUntil("never");
    EXPECT_TRUE(client->AtEnd());
  }
}

// Small windows on both sides: records are cut anywhere, and the rest waits for room.
TEST_F(HttpTlsTest, ASlowReaderWithASmallWindowGetsAllOfALargeAnswer) {
  Start();
  for (const int version : {TLS1_2_VERSION, TLS1_3_VERSION}) {
    RawClient client(Tls(version));
    const int small = 128 * 1024;
    ::setsockopt(client.fd(), SOL_SOCKET, SO_RCVBUF, &small, sizeof small);
    std::string body(600'000, '\0');
    for (size_t i = 0; i < body.size(); ++i) body[i] = static_cast<char>(i * 13 >> 3);
    std::thread sender([&] { client.Send(Post(body)); });
    const std::string response = client.Receive();
    sender.join();
    EXPECT_TRUE(BodyOf(response) == body);
  }
}

}  // namespace
}  // namespace evenkeel
