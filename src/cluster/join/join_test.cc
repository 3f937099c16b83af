// A desk and who asks at it, over real sockets.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>

#include "cluster/join/join_client.h"
#include "cluster/join/join_desk.h"
#include "cluster/join/join_messages.h"
#include "cluster/pki/peer_check.h"
#include "cluster/pki/pki_test_kit.h"
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
        [this] { return nodes_; },
        [this](const NodeAddress& node) {
          nodes_.push_back(node);
          return Status::Ok();
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

  TestCluster cluster_{"home"};
  TestFolder home_, scratch_;
  std::vector<NodeAddress> nodes_{{"desk", "127.0.0.1:8010"}};
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
  EXPECT_EQ(nodes_.size(), 2U);
  EXPECT_TRUE(std::filesystem::is_empty(scratch_.path));
  const auto check = Must(pki::PeerCheck::Create(cluster_.authority.certificate_pem()));
  EXPECT_TRUE(
      check.Expect("attic", joined->certificate.chain_pem, pki::PeerRole::kServer, WallNow()).ok());
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

TEST(JoinMessagesTest, AnswersAreHeldToTheirForm) {
  const std::string good = WriteJoinAnswer({"pem", {{"a", "10.0.0.2:1"}}});
  ASSERT_TRUE(ParseJoinAnswer(good).ok());
  for (size_t cut = 0; cut < good.size(); ++cut)
    EXPECT_FALSE(ParseJoinAnswer(good.substr(0, cut)).ok()) << cut;
  EXPECT_FALSE(ParseJoinAnswer(WriteJoinAnswer({"pem", {{"A B", "10.0.0.2:1"}}})).ok());
  EXPECT_FALSE(ParseJoinAnswer(WriteJoinAnswer({"pem", {{"a", "somewhere:1"}}})).ok());
  EXPECT_FALSE(ParseJoinAnswer(std::string(kMostJoinBytes + 1, ' ')).ok());
}

}  // namespace
}  // namespace evenkeel
