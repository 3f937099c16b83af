#include "cluster/pki/peer_check.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "cluster/pki/pki_test_kit.h"
#include "cluster/pki/x509_build.h"

namespace evenkeel::pki {
namespace {

using testing::HasSubstr;

PeerCheck CheckOf(const TestCluster& cluster) {
  return Must(PeerCheck::Create(cluster.authority.certificate_pem()));
}

std::string WhyNot(const PeerCheck& check, std::string_view chain, WallTime now = WallNow(),
                   PeerRole role = PeerRole::kClient) {
  const Result<std::string> node = check.ProvenNode(chain, role, now);
  EXPECT_FALSE(node.ok()) << *node;
  EXPECT_EQ(node.status().code(), Code::kUnauthenticated);
  return node.status().message();
}

std::string FirstOf(const std::string& chain) {
  return chain.substr(0, chain.rfind("-----BEGIN CERTIFICATE-----"));
}

TEST(PeerCheckTest, ANodeOfTheClusterIsProvenInBothRoles) {
  const TestCluster cluster;
  const PeerCheck check = CheckOf(cluster);
  const NodeCertificate node = cluster.Node("a");
  for (const PeerRole role : {PeerRole::kClient, PeerRole::kServer}) {
    EXPECT_EQ(Must(check.ProvenNode(node.chain_pem, role, WallNow())), "a");
    EXPECT_EQ(Must(check.ProvenNode(FirstOf(node.chain_pem), role, WallNow())), "a");
  }
  EXPECT_TRUE(check.Expect("a", node.chain_pem, PeerRole::kServer, WallNow()).ok());
}

TEST(PeerCheckTest, AnotherNameIsAnError) {
  const TestCluster cluster;
  const Status status =
      CheckOf(cluster).Expect("b", cluster.Node("a").chain_pem, PeerRole::kServer, WallNow());
  EXPECT_EQ(status.code(), Code::kUnauthenticated);
  EXPECT_THAT(status.message(), HasSubstr("is node 'a', not 'b'"));
}

TEST(PeerCheckTest, NodesOfOtherClustersProveNothingAlsoWhereTheIdIsTheSame) {
  const TestCluster cluster, other("other"), twin;
  const PeerCheck check = CheckOf(cluster);
  for (const TestCluster* each : {&other, &twin}) {
    const std::string chain = each->Node("a").chain_pem;
    EXPECT_THAT(WhyNot(check, chain), HasSubstr("not signed by this cluster's authority"));
    EXPECT_THAT(WhyNot(check, FirstOf(chain)), HasSubstr("not signed by this cluster's authority"));
    // The right authority beside it changes nothing.
    EXPECT_THAT(WhyNot(check, FirstOf(chain) + cluster.authority.certificate_pem()),
                HasSubstr("not signed by this cluster's authority"));
  }
}

TEST(PeerCheckTest, TimeIsLookedAt) {
  const TestCluster cluster;
  const PeerCheck check = CheckOf(cluster);
  const WallTime now = WallNow();
  const std::string chain = cluster.Node("a", {}, now).chain_pem;
  const WallTime last = now + kNodeLife - std::chrono::seconds(1);
  EXPECT_TRUE(check.ProvenNode(chain, PeerRole::kClient, last).ok());
  EXPECT_THAT(WhyNot(check, chain, now + kNodeLife), HasSubstr("has expired"));
  EXPECT_TRUE(check.ProvenNode(chain, PeerRole::kClient, now - kClockSkew).ok());
  EXPECT_THAT(WhyNot(check, chain, now - kClockSkew - std::chrono::seconds(1)),
              HasSubstr("is not valid yet"));
}

TEST(PeerCheckTest, TheAuthorityItselfIsNoNode) {
  const TestCluster cluster;
  WhyNot(CheckOf(cluster), cluster.authority.certificate_pem());
}

TEST(PeerCheckTest, WhatIsNoChainProvesNothing) {
  const TestCluster cluster;
  const PeerCheck check = CheckOf(cluster);
  const std::string chain = cluster.Node("a").chain_pem;
  EXPECT_THAT(WhyNot(check, ""), HasSubstr("shows no certificate"));
  EXPECT_THAT(WhyNot(check, "garbage"), HasSubstr("cannot be read"));
  EXPECT_THAT(WhyNot(check, chain.substr(0, 200)), HasSubstr("cannot be read"));
  EXPECT_THAT(WhyNot(check, chain + chain + chain), HasSubstr("cannot be read"));
  EXPECT_THAT(WhyNot(check, std::string(65 * 1024, 'x')), HasSubstr("larger than 64 KiB"));
}

// Certificates that the authority's key could sign, but never does.
class OddCertificate {
 public:
  explicit OddCertificate(const std::string& cluster = "test")
      : authority_key_(EVP_EC_gen("P-256")),
        authority_(Begin(authority_key_.get(), cluster, "evenkeel authority")) {
    X509_set_issuer_name(authority_.get(), X509_get_subject_name(authority_.get()));
    Add(authority_.get(), authority_.get(), NID_basic_constraints, "critical,CA:TRUE");
    Add(authority_.get(), authority_.get(), NID_subject_key_identifier, "hash");
    X509_sign(authority_.get(), authority_key_.get(), EVP_sha256());
  }
  PeerCheck Check() const { return Must(PeerCheck::Create(CertificatePem(authority_.get()))); }
  std::string Sign(const std::string& cluster, const std::string& name, const char* usage,
                   const openssl::Names& names) const {
    const openssl::Key key(EVP_EC_gen("P-256"));
    const openssl::Certificate made = Begin(key.get(), cluster, name);
    X509_set_issuer_name(made.get(), X509_get_subject_name(authority_.get()));
    Add(made.get(), authority_.get(), NID_ext_key_usage, usage);
    if (names != nullptr)
      X509_add1_ext_i2d(made.get(), NID_subject_alt_name, names.get(), 0, X509V3_ADD_DEFAULT);
    X509_sign(made.get(), authority_key_.get(), EVP_sha256());
    return CertificatePem(made.get());
  }

 private:
  static openssl::Certificate Begin(EVP_PKEY* key, const std::string& cluster,
                                    const std::string& name) {
    openssl::Certificate made(X509_new());
    X509_set_version(made.get(), 2);
    static long serial = 0;
    ASN1_INTEGER_set(X509_get_serialNumber(made.get()), ++serial);
    X509_gmtime_adj(X509_getm_notBefore(made.get()), -60);
    X509_gmtime_adj(X509_getm_notAfter(made.get()), 3600);
    X509_set_pubkey(made.get(), key);
    SetSubject(X509_get_subject_name(made.get()), cluster, name);
    return made;
  }
  static void Add(X509* certificate, X509* issuer, int nid, const char* value) {
    X509V3_CTX context;
    X509V3_set_ctx(&context, issuer, certificate, nullptr, nullptr, 0);
    X509V3_set_ctx_nodb(&context);
    X509_EXTENSION* const extension = X509V3_EXT_conf_nid(nullptr, &context, nid, value);
    EK_CHECK(extension != nullptr && X509_add_ext(certificate, extension, -1) == 1);
    X509_EXTENSION_free(extension);
  }

  openssl::Key authority_key_;
  openssl::Certificate authority_;
};

TEST(PeerCheckTest, TheUseMustBeThatOfThePeer) {
  const OddCertificate odd;
  const PeerCheck check = odd.Check();
  const openssl::Names names = MakeNames({NodeDnsName("a")}, {});
  const std::string client = odd.Sign("test", "a", "clientAuth", names);
  EXPECT_EQ(Must(check.ProvenNode(client, PeerRole::kClient, WallNow())), "a");
  EXPECT_THAT(WhyNot(check, client, WallNow(), PeerRole::kServer), HasSubstr("not for this use"));
  const std::string server = odd.Sign("test", "a", "serverAuth", names);
  EXPECT_THAT(WhyNot(check, server), HasSubstr("not for this use"));
}

TEST(PeerCheckTest, ClusterAndNameMustAgreeWithEachOther) {
  const OddCertificate odd;
  const PeerCheck check = odd.Check();
  const char* const both = "clientAuth,serverAuth";
  EXPECT_THAT(WhyNot(check, odd.Sign("other", "a", both, MakeNames({NodeDnsName("a")}, {}))),
              HasSubstr("is of cluster 'other'"));
  EXPECT_THAT(WhyNot(check, odd.Sign("test", "b", both, MakeNames({NodeDnsName("a")}, {}))),
              HasSubstr("is not for that name"));
  EXPECT_THAT(WhyNot(check, odd.Sign("test", "a", both, nullptr)),
              HasSubstr("is not for that name"));
  EXPECT_THAT(WhyNot(check, odd.Sign("test", "A", both, MakeNames({NodeDnsName("A")}, {}))),
              HasSubstr("is not for that name"));
}

TEST(PeerCheckTest, NeedsAnAuthority) {
  const TestCluster cluster;
  EXPECT_FALSE(PeerCheck::Create("").ok());
  EXPECT_FALSE(PeerCheck::Create(FirstOf(cluster.Node("a").chain_pem)).ok());
}

}  // namespace
}  // namespace evenkeel::pki
