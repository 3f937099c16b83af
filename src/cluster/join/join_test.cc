// A desk and who asks at it, over real sockets.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <spdlog/sinks/ostream_sink.h>
#include <spdlog/spdlog.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <csignal>
#include <filesystem>
#include <span>
#include <sstream>
#include <thread>

#include "cluster/join/join_client.h"
#include "cluster/join/join_desk.h"
#include "cluster/join/join_messages.h"
#include "cluster/join/request_check.h"
#include "cluster/pki/peer_check.h"
#include "cluster/pki/pki_test_kit.h"
#include "cluster/pki/signing_request.h"
#include "net/http_server.h"
#include "net/io_loop.h"
#include "net/tls_context.h"

namespace evenkeel {
namespace {

using pki::Must;
using pki::TestCluster;
using pki::TestFolder;
using pki::WallNow;
using testing::HasSubstr;

class JoinTest : public testing::Test {
 protected:
  void SetUp() override {
    EK_CHECK(cluster_.authority.Save(home_.path).ok());
    EK_CHECK(cluster_.Node("desk").Save(home_.path).ok());
    desk_ = std::make_unique<JoinDesk>(
        Must(pki::CertificateAuthority::Load(home_.path)), home_.path + "/tokens",
        [this] { return nodes_; }, [this] { return store_; },
        [this](const NodeAddress& node) {
          if (!late_) nodes_.push_back(node);
          return admits_;
        });
    loop_ = Must(IoLoop::Create("join"));
    loop_->Start();
    HttpServerOptions options;
    options.tls =
        Must(TlsServerContext::Load({home_.path + "/node.pem", home_.path + "/node.pem"}));
    server_ = Must(HttpServer::Listen(options, desk_.get(), {loop_.get()}));
    address_ = FormatHostPort("127.0.0.1", server_->port());
  }
  std::string Token(std::chrono::seconds life = std::chrono::hours(1)) {
    const pki::JoinTokens tokens(home_.path + "/tokens", cluster_.authority.digest());
    return Must(tokens.Make(life, WallNow()));
  }
  Result<Joined> Join(const std::string& token, const NodeAddress& own) {
    return JoinCluster(address_, token, own, scratch_.path);
  }
  // What a node sends that asks to be certified for `addresses`.
  std::string Body(const NodeAddress& node, const std::vector<std::string>& addresses) {
    const auto made = Must(pki::MakeSigningRequest({"home", node.name, addresses}));
    return WriteJoinRequest({Token(), made.request_pem, node.address});
  }

  TestCluster cluster_{"home"};
  TestFolder home_, scratch_;
  std::vector<NodeAddress> nodes_{{"desk", "127.0.0.1:8010"}};
  StoreHome store_;
  bool late_ = false;  // the list of nodes does not hear at once of those that are admitted
  Status admits_;
  std::unique_ptr<IoLoop> loop_;
  std::unique_ptr<JoinDesk> desk_;
  std::unique_ptr<HttpServer> server_;
  std::string address_;
};

TEST_F(JoinTest, ANodeWithATokenIsLetInAndKnowsTheOthers) {
  const auto joined = Join(Token(), {"attic", "127.0.0.1:8020"});
  ASSERT_TRUE(joined.ok()) << joined.status().ToString();
  EXPECT_EQ(joined->certificate.node, "attic");
  EXPECT_EQ(joined->certificate.cluster, "home");
  EXPECT_EQ(joined->home.peers, (std::vector<NodeAddress>{{"desk", "127.0.0.1:8010"}}));
  EXPECT_EQ(joined->home.store, StoreHome());
  EXPECT_EQ(nodes_.size(), 2U);
  EXPECT_TRUE(std::filesystem::is_empty(scratch_.path));
  const auto check = Must(pki::PeerCheck::Create(cluster_.authority.certificate_pem()));
  EXPECT_TRUE(
      check.Expect("attic", joined->certificate.chain_pem, pki::PeerRole::kServer, WallNow()).ok());
}

TEST_F(JoinTest, ANewNodeLearnsWhereTheStoreIs) {
  store_.kind = StoreHome::Kind::kMembers;
  store_.endpoints = {"127.0.0.1:8012"};
  store_.generation = 2;
  store_.origin = "desk";
  store_.member = true;
  const auto joined = Join(Token(), {"attic", "127.0.0.1:8020"});
  ASSERT_TRUE(joined.ok()) << joined.status().ToString();
  StoreHome expected = store_;
  expected.member = false;  // the desk's own affair
  EXPECT_EQ(joined->home.store, expected);
}

TEST_F(JoinTest, ATokenIsGoodOnce) {
  const std::string token = Token();
  ASSERT_TRUE(Join(token, {"attic", "127.0.0.1:8020"}).ok());
  const auto again = Join(token, {"shelf", "127.0.0.1:8030"});
  EXPECT_EQ(again.status().code(), Code::kUnauthenticated);
  EXPECT_THAT(again.status().message(), HasSubstr("used already"));
  EXPECT_EQ(nodes_.size(), 2U);
}

TEST_F(JoinTest, ATokenOfAnotherClusterIsNotEvenSaid) {
  const TestCluster other("elsewhere");
  const pki::JoinTokens tokens(scratch_.path + "/tokens", other.authority.digest());
  const std::string token = Must(tokens.Make(std::chrono::hours(1), WallNow()));
  const auto joined = Join(token, {"attic", "127.0.0.1:8020"});
  EXPECT_EQ(joined.status().code(), Code::kUnauthenticated);
  EXPECT_THAT(joined.status().message(), HasSubstr("not of the cluster"));
  EXPECT_EQ(server_->stats().requests, 0U);
}

TEST_F(JoinTest, ANameOrAnAddressThatIsTakenIsRefused) {
  const auto name = Join(Token(), {"desk", "127.0.0.1:8020"});
  EXPECT_EQ(name.status().code(), Code::kConflict);
  EXPECT_THAT(name.status().message(), HasSubstr("'desk'"));
  const auto address = Join(Token(), {"attic", "127.0.0.1:8010"});
  EXPECT_EQ(address.status().code(), Code::kConflict);
  EXPECT_EQ(nodes_.size(), 1U);
}

TEST_F(JoinTest, WrongWordsAreRefusedBeforeAnythingIsAsked) {
  EXPECT_EQ(Join("ekj_nonsense", {"attic", "127.0.0.1:8020"}).status().code(),
            Code::kInvalidArgument);
  EXPECT_EQ(Join(Token(), {"attic", "attic.example:8020"}).status().code(), Code::kInvalidArgument);
  EXPECT_EQ(Join(Token(), {"At Tic", "127.0.0.1:8020"}).status().code(), Code::kInvalidArgument);
  server_.reset();
  EXPECT_EQ(Join(Token(), {"attic", "127.0.0.1:8020"}).status().code(), Code::kUnavailable);
}

TEST_F(JoinTest, WhatTheDeskGetsMayBeAnything) {
  for (const char* body :
       {"", "{}", "[]", "{\"token\": 5}", "{\"token\": \"x\"}",
        "{\"token\": \"x\", \"request\": \"y\", \"address\": \"z\", \"more\": 1}",
        "{\"token\": \"x\", \"request\": \"y\", \"address\": \"z\"}"})
    EXPECT_FALSE(desk_->Join(body, WallNow()).ok()) << body;
  // A good token, and a request that is none: the token is spent.
  const std::string token = Token();
  EXPECT_FALSE(desk_->Join(WriteJoinRequest({token, "no request", "127.0.0.1:1"}), WallNow()).ok());
  EXPECT_EQ(Join(token, {"attic", "127.0.0.1:8020"}).status().code(), Code::kUnauthenticated);
  EXPECT_EQ(nodes_.size(), 1U);
}

TEST_F(JoinTest, NobodyIsCertifiedForAnAddressThatIsNotItsOwn) {
  const NodeAddress attic{"attic", "10.0.0.3:8010"};
  using Addresses = std::vector<std::string>;
  for (const Addresses& addresses :
       {Addresses{"127.0.0.1"}, Addresses{"10.0.0.3", "127.0.0.1"}, Addresses{"desk.example"},
        Addresses{"10.0.0.3", "desk.example"}, Addresses{}}) {
    const auto answer = desk_->Join(Body(attic, addresses), WallNow());
    EXPECT_EQ(answer.status().code(), Code::kInvalidArgument) << addresses.size();
    EXPECT_THAT(answer.status().message(),
                HasSubstr("expected its address, 10.0.0.3, and no other"));
  }
  EXPECT_EQ(nodes_.size(), 1U);
  EXPECT_TRUE(desk_->Join(Body(attic, {"10.0.0.3"}), WallNow()).ok());
  EXPECT_TRUE(desk_->Join(Body({"shelf", "[fd00:0::4]:8010"}, {"fd00::4"}), WallNow()).ok());
}

TEST(RequestCheckTest, NameAndAddressHaveToBeTheKnownOnes) {
  const NodeAddress attic{"attic", "10.0.0.3:8010"};
  EXPECT_TRUE(CheckRequest({"home", "attic", {"10.0.0.3"}}, attic).ok());
  const Status name = CheckRequest({"home", "desk", {"10.0.0.3"}}, attic);
  EXPECT_EQ(name.code(), Code::kPermissionDenied);
  EXPECT_THAT(name.message(), HasSubstr("node 'attic' asks for a certificate of node 'desk'"));
  EXPECT_EQ(CheckRequest({"home", "attic", {"10.0.0.2"}}, attic).code(), Code::kInvalidArgument);
  EXPECT_EQ(CheckRequest({"home", "attic", {"10.0.0.3"}}, {"attic", "attic.example:8010"}).code(),
            Code::kInvalidArgument);
}

TEST_F(JoinTest, AnAddressThatIsNoOnesIsRefused) {
  for (const char* host : {"0.0.0.0", "224.0.0.1", "255.255.255.255"}) {
    const auto answer =
        desk_->Join(Body({"attic", std::string(host) + ":8010"}, {host}), WallNow());
    EXPECT_EQ(answer.status().code(), Code::kInvalidArgument) << host;
    EXPECT_THAT(answer.status().message(), HasSubstr("no address of one host")) << host;
  }
  EXPECT_EQ(nodes_.size(), 1U);
}

TEST_F(JoinTest, OneAddressIsOneHoweverItIsWritten) {
  const auto answer =
      desk_->Join(Body({"attic", "[::ffff:127.0.0.1]:8010"}, {"::ffff:127.0.0.1"}), WallNow());
  EXPECT_EQ(answer.status().code(), Code::kConflict) << answer.status().message();
}

TEST_F(JoinTest, OfTwoThatAskForOneNameTheFirstHasItAlsoBeforeTheListKnows) {
  late_ = true;
  const auto now = WallNow();
  ASSERT_TRUE(desk_->Join(Body({"attic", "10.0.0.3:8010"}, {"10.0.0.3"}), now).ok());
  const auto name = desk_->Join(Body({"attic", "10.0.0.4:8010"}, {"10.0.0.4"}), now);
  EXPECT_EQ(name.status().code(), Code::kConflict);
  EXPECT_THAT(name.status().message(), HasSubstr("'attic'"));
  const auto address =
      desk_->Join(Body({"shelf", "[::ffff:10.0.0.3]:8010"}, {"::ffff:10.0.0.3"}), now);
  EXPECT_EQ(address.status().code(), Code::kConflict);
  ASSERT_TRUE(desk_->Join(Body({"shelf", "10.0.0.4:8010"}, {"10.0.0.4"}), now).ok());
  // One that the list does not have later was taken off the cluster, and may come back.
  const auto later = now + JoinDesk::kAdmittedFor;
  EXPECT_TRUE(desk_->Join(Body({"attic", "10.0.0.3:8010"}, {"10.0.0.3"}), later).ok());
}

TEST_F(JoinTest, ANodeThatIsNotAdmittedKeepsNobodyFromItsName) {
  late_ = true;
  admits_ = Status(Code::kUnavailable, "the store is away");
  const auto now = WallNow();
  const NodeAddress attic{"attic", "10.0.0.3:8010"};
  EXPECT_EQ(desk_->Join(Body(attic, {"10.0.0.3"}), now).status().code(), Code::kUnavailable);
  admits_ = Status::Ok();
  EXPECT_TRUE(desk_->Join(Body(attic, {"10.0.0.3"}), now).ok());
}

TEST_F(JoinTest, NothingOfTheDesksDiskIsTold) {
  const std::string token = Token();
  const std::string path =
      std::filesystem::directory_iterator(home_.path + "/tokens")->path().string();
  const auto answer = [&](std::string* for_log) {
    return desk_->Join(WriteJoinRequest({token, "no request", "127.0.0.1:1"}), WallNow(), for_log)
        .status();
  };
  const auto expect_hidden = [&](const std::string& reason) {
    std::string why;
    const Status status = answer(&why);
    EXPECT_EQ(status.code(), Code::kUnauthenticated);
    EXPECT_EQ(status.message(), "the join token is not known, or was used");
    EXPECT_THAT(why, HasSubstr(path));
    EXPECT_THAT(why, HasSubstr(reason));
  };
  ASSERT_EQ(::chmod(path.c_str(), 0644), 0);
  expect_hidden("chmod 600");
  std::filesystem::remove(path);
  std::filesystem::create_directory(path);
  expect_hidden("expected a file");
  EXPECT_EQ(answer(nullptr).code(), Code::kUnauthenticated);
}

// A request as the desk gets it.
class FakeExchange final : public HttpExchange {
 public:
  FakeExchange(std::string_view body, Time received) {
    head_.method = HttpMethod::kPost;
    head_.path = "/join";
    body_ = std::as_bytes(std::span(body));
    received_ = received;
  }
  void Respond(HttpResponse response) override { status = response.status; }
  void StartStream(HttpResponse, HttpHeartbeat) override {}
  bool Send(std::string_view) override { return false; }
  void EndStream(std::string) override {}
  bool gone() const override { return false; }
  int status = 0;
};

TEST_F(JoinTest, WhoeverIsRefusedCannotFillTheLog) {
  std::ostringstream log;
  const auto before = spdlog::default_logger();
  spdlog::set_default_logger(std::make_shared<spdlog::logger>(
      "test", std::make_shared<spdlog::sinks::ostream_sink_mt>(log)));
  const auto ask = [&](std::chrono::milliseconds at) {
    FakeExchange exchange("{}", Time{} + std::chrono::hours(1) + at);
    desk_->Handle(exchange);
    EXPECT_EQ(exchange.status, 400);
  };
  for (int i = 0; i < 100; ++i) ask(std::chrono::milliseconds(i));
  const std::string first = log.str();
  ask(std::chrono::ceil<std::chrono::milliseconds>(JoinDesk::kWarnEvery));
  const std::string both = log.str();
  spdlog::set_default_logger(before);
  EXPECT_EQ(std::ranges::count(first, '\n'), 1) << first;
  EXPECT_THAT(first, HasSubstr("a node was not let in: 'token' is missing"));
  EXPECT_EQ(std::ranges::count(both, '\n'), 2) << both;
  EXPECT_THAT(both, HasSubstr("(nor were 99 before it)"));
}

// A desk that certifies with another authority than the one that the token is of.
class ForgingDesk final : public HttpHandler {
 public:
  void Handle(HttpExchange& exchange) override {
    const auto body = exchange.body();
    const auto asked =
        Must(ParseJoinRequest({reinterpret_cast<const char*>(body.data()), body.size()}));
    const auto request = Must(pki::ReadSigningRequest(asked.request_pem));
    HttpResponse response;
    response.body = WriteJoinAnswer(
        {Must(forger.authority.Sign(request, WallNow())), {{"desk", "127.0.0.1:8010"}}, {}});
    exchange.Respond(std::move(response));
  }
  const TestCluster forger{"home"};
};

TEST_F(JoinTest, ACertificateOfAnotherAuthorityIsNotTaken) {
  ForgingDesk forging;
  HttpServerOptions options;
  options.tls = Must(TlsServerContext::Load({home_.path + "/node.pem", home_.path + "/node.pem"}));
  const auto server = Must(HttpServer::Listen(options, &forging, {loop_.get()}));
  const auto joined = JoinCluster(FormatHostPort("127.0.0.1", server->port()), Token(),
                                  {"attic", "127.0.0.1:8020"}, scratch_.path);
  EXPECT_EQ(joined.status().code(), Code::kUnauthenticated);
  EXPECT_THAT(joined.status().message(), HasSubstr("not of the token's cluster"));
}

TEST_F(JoinTest, ADeskThatHangsUpIsAnErrorAndNotTheEnd) {
  std::signal(SIGPIPE, SIG_DFL);
  const int listener = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t size = sizeof address;
  ASSERT_EQ(::bind(listener, reinterpret_cast<sockaddr*>(&address), size), 0);
  ASSERT_EQ(::listen(listener, 16), 0);
  ASSERT_EQ(::getsockname(listener, reinterpret_cast<sockaddr*>(&address), &size), 0);
  constexpr int kTimes = 12;
  // In each of the ways that lead to a write into a connection that is gone: before the first word, after it, after an answer that is no TLS.
  std::thread desk([&] {
    for (int i = 0; i < kTimes; ++i) {
      const int fd = ::accept(listener, nullptr, nullptr);
      char word[4096];
      if (i % 3 > 0) static_cast<void>(::recv(fd, word, sizeof word, 0));
      if (i % 3 > 1) static_cast<void>(::send(fd, "no TLS", 6, MSG_NOSIGNAL));
      ::shutdown(fd, SHUT_WR);
      const linger at_once{1, 0};
      ::setsockopt(fd, SOL_SOCKET, SO_LINGER, &at_once, sizeof at_once);
      ::close(fd);
    }
  });
  const std::string token = Token();
  for (int i = 0; i < kTimes; ++i) {
    const auto joined = JoinCluster(FormatHostPort("127.0.0.1", ntohs(address.sin_port)), token,
                                    {"attic", "127.0.0.1:8020"}, scratch_.path);
    EXPECT_EQ(joined.status().code(), Code::kUnavailable) << joined.status().ToString();
  }
  desk.join();
  ::close(listener);
}

TEST(JoinMessagesTest, AnswersAreHeldToTheirForm) {
  const std::string good = WriteJoinAnswer({"pem", {{"a", "10.0.0.2:1"}}, {}});
  ASSERT_TRUE(ParseJoinAnswer(good).ok());
  for (size_t cut = 0; cut < good.size(); ++cut)
    EXPECT_FALSE(ParseJoinAnswer(good.substr(0, cut)).ok()) << cut;
  EXPECT_FALSE(ParseJoinAnswer(WriteJoinAnswer({"pem", {{"A B", "10.0.0.2:1"}}, {}})).ok());
  EXPECT_FALSE(ParseJoinAnswer(WriteJoinAnswer({"pem", {{"a", "somewhere:1"}}, {}})).ok());
  EXPECT_FALSE(ParseJoinAnswer(std::string(kMostJoinBytes + 1, ' ')).ok());
}

}  // namespace
}  // namespace evenkeel
