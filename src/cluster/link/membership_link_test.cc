// What membership asks over a link: plans for the leader, and new certificates, by who has proven to be whom.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <future>

#include "cluster/link/link_client.h"
#include "cluster/link/link_server.h"
#include "cluster/pki/pki_test_kit.h"
#include "core/format.h"
#include "net/io_loop.h"

namespace evenkeel {
namespace {

using namespace std::chrono_literals;
using pki::Must;
using testing::HasSubstr;

class AskedHost final : public NodeHost {
 public:
  bool IsOfCluster(std::string_view node) const override { return node == "a"; }
  NodeFigures FiguresFor(const NodeFigures& /*theirs*/) override { return {}; }
  void OnFigures(const NodeFigures& /*theirs*/) override {}
  Status SetOwnState(std::string_view /*state*/) override { return Status::Ok(); }
  Result<std::shared_ptr<ServedModel>> FindOwn(std::string_view, std::string_view) override {
    return NotFound("no model");
  }
  Result<std::shared_ptr<LanguageModel>> FindOwnLanguage(std::string_view) override {
    return NotFound("no model");
  }
  void PublishPlan(std::string plan, std::function<void(Result<PlanStamp>)> done) override {
    if (plan == "refused") return done(Conflict("this node does not lead the cluster"));
    done(PlanStamp{{1, 12}, static_cast<int64_t>(plan.size())});
  }
  Result<std::string> Renew(const std::string& caller, const std::string& request_pem) override {
    if (request_pem.empty()) return NotFound("this node does not hold the cluster's authority");
    return caller + " asked with " + request_pem;
  }
};

class MembershipLinkTest : public testing::Test {
 protected:
  void SetUp() override {
    loop_ = Must(IoLoop::Create("link"));
    loop_->Start();
    LinkServerOptions options;
    options.credentials = &own_;
    options.loop = loop_.get();
    server_ = Must(LinkServer::Start(host_, SteadyClock::Instance(), options));
  }
  void TearDown() override {
    server_.reset();
    loop_->Stop();
    loop_->Join();
  }
  std::unique_ptr<LinkClient> Connect(const link::NodeCredentials& as) const {
    LinkClientOptions options;
    options.address = fmt::format("127.0.0.1:{}", server_->port());
    options.credentials = &as;
    options.node = "b";
    return std::make_unique<LinkClient>(options);
  }
  Result<PlanStamp> Publish(LinkClient& link, const std::string& plan) {
    std::promise<Result<PlanStamp>> answer;
    link.Publish(plan, 10s, [&](Result<PlanStamp> stamp) { answer.set_value(std::move(stamp)); });
    return answer.get_future().get();
  }
  Result<std::string> Renew(LinkClient& link, const std::string& request) {
    std::promise<Result<std::string>> answer;
    link.Renew(request, 10s, [&](Result<std::string> chain) { answer.set_value(chain); });
    return answer.get_future().get();
  }

  const pki::TestCluster cluster_{"home"};
  const link::NodeCredentials own_ = Must(link::NodeCredentials::Create(cluster_.Node("b")));
  const link::NodeCredentials theirs_ = Must(link::NodeCredentials::Create(cluster_.Node("a")));
  const link::NodeCredentials removed_ = Must(link::NodeCredentials::Create(cluster_.Node("c")));
  AskedHost host_;
  std::unique_ptr<IoLoop> loop_;
  std::unique_ptr<LinkServer> server_;
};

TEST_F(MembershipLinkTest, APlansStampOrItsRefusalComesBack) {
  const auto link = Connect(theirs_);
  const auto stamp = Publish(*link, "a plan");
  ASSERT_TRUE(stamp.ok()) << stamp.status().ToString();
  EXPECT_EQ(*stamp, (PlanStamp{{1, 12}, 6}));
  const Status refused = Publish(*link, "refused").status();
  EXPECT_EQ(refused.code(), Code::kConflict);
  EXPECT_THAT(refused.message(), HasSubstr("does not lead"));
}

TEST_F(MembershipLinkTest, WhoAsksForACertificateIsWhoItsOldOneProves) {
  const auto link = Connect(theirs_);
  const auto chain = Renew(*link, "request");
  ASSERT_TRUE(chain.ok()) << chain.status().ToString();
  EXPECT_EQ(*chain, "a asked with request");
  EXPECT_EQ(Renew(*link, "").status().code(), Code::kNotFound);
}

TEST_F(MembershipLinkTest, WhoIsNotOfTheClusterGetsNeither) {
  const auto link = Connect(removed_);
  EXPECT_FALSE(Publish(*link, "a plan").ok());
  EXPECT_FALSE(Renew(*link, "request").ok());
}

}  // namespace
}  // namespace evenkeel
