#include "server/certificate_renewal.h"

#include <gtest/gtest.h>

#include <optional>

#include "cluster/pki/pki_test_kit.h"
#include "core/fake_event_loop.h"

namespace evenkeel {
namespace {

using namespace std::chrono_literals;
using pki::Must;
using pki::TestCluster;
using pki::TestFolder;

class CertificateRenewalTest : public testing::Test {
 protected:
  CertificateRenewalTest() : certificate_(cluster_.Node("attic")) {
    EK_CHECK(certificate_.Save(folder_.path).ok());
    renewal_.emplace(
        CertificateRenewal::Options{folder_.path, "127.0.0.1", 1h}, certificate_,
        [this](const std::string& request, std::function<void(Result<std::string>)> done) {
          ++asked_;
          const auto read = Must(pki::ReadSigningRequest(request));
          done(answers_ ? authority_->Sign(read, now_)
                        : Result<std::string>(Status(Code::kUnavailable, "nobody there")));
        },
        loop_, events_);
  }
  // A renewed certificate is signed now, whatever the test takes for now.
  void Look(pki::WallTime at) {
    renewal_->Look(at);
    loop_.RunPosted();
  }
  pki::WallTime Due() const {
    return pki::RenewalTime(certificate_.not_before, certificate_.not_after);
  }

  TestCluster cluster_{"home"}, other_{"home"};
  const pki::CertificateAuthority* authority_ = &cluster_.authority;
  TestFolder folder_;
  const pki::NodeCertificate certificate_;
  pki::WallTime now_ = pki::WallNow() + 24h;  // when the authority signs
  ManualClock clock_;
  FakeEventLoop loop_{clock_};
  EventLog events_;
  bool answers_ = true;
  int asked_ = 0;
  std::optional<CertificateRenewal> renewal_;
};

TEST_F(CertificateRenewalTest, AsksAtTwoThirdsOfTheLifeAndPutsTheNewOneInPlace) {
  Look(Due() - 1s);
  EXPECT_EQ(asked_, 0);
  Look(Due());
  EXPECT_EQ(asked_, 1);
  const auto now = Must(pki::NodeCertificate::Load(folder_.path));
  EXPECT_EQ(now.not_after, now_ + pki::kNodeLife);
  EXPECT_EQ(now.node, "attic");
  EXPECT_NE(now.key_pem, certificate_.key_pem);
  EXPECT_TRUE(renewal_->renewed());
  ASSERT_EQ(events_.Last().size(), 1U);
  Look(Due() + 1h);
  EXPECT_EQ(asked_, 1);  // the new one has time
}

TEST_F(CertificateRenewalTest, AfterAFailureTheOldOneStaysAndItIsAskedAgainLater) {
  answers_ = false;
  Look(Due());
  Look(Due() + 59min);
  EXPECT_EQ(asked_, 1);
  EXPECT_EQ(Must(pki::NodeCertificate::Load(folder_.path)).key_pem, certificate_.key_pem);
  answers_ = true;
  Look(Due() + 61min);
  EXPECT_EQ(asked_, 2);
  EXPECT_TRUE(renewal_->renewed());
}

TEST_F(CertificateRenewalTest, WhatAnotherAuthoritySignedIsNotTaken) {
  authority_ = &other_.authority;
  Look(Due());
  EXPECT_EQ(asked_, 1);
  EXPECT_FALSE(renewal_->renewed());
  EXPECT_EQ(Must(pki::NodeCertificate::Load(folder_.path)).key_pem, certificate_.key_pem);
}

}  // namespace
}  // namespace evenkeel
