#include "cluster/pki/certificate_authority.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <openssl/pem.h>
#include <sys/stat.h>

#include <fstream>

#include "cluster/pki/pki_test_kit.h"
#include "cluster/pki/x509_build.h"
#include "net/tls_files.h"

namespace evenkeel::pki {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

SigningRequest RequestOf(const NodeIdentity& identity) {
  return Must(ReadSigningRequest(Must(MakeSigningRequest(identity)).request_pem));
}

TEST(CertificateAuthorityTest, SignsWhatWasAskedForAndNothingElse) {
  const TestCluster cluster;
  const WallTime now = WallNow();
  const std::string pem =
      Must(cluster.authority.Sign(RequestOf({"test", "a", {"10.0.0.1", "::1", "a.example"}}), now));
  const auto chain = Must(ParseCertificates(pem, "chain", 5));
  ASSERT_EQ(chain.size(), 2U);
  const CertificateFacts facts = FactsOf(chain[0].get());
  EXPECT_EQ(facts.subject, "O = test, CN = a");
  EXPECT_THAT(facts.names, ElementsAre("a.node.evenkeel.internal", "a.example", "10.0.0.1", "::1"));
  EXPECT_EQ(facts.not_before, now - kClockSkew);
  EXPECT_EQ(facts.not_after, now + kNodeLife);
  EXPECT_EQ(X509_check_ca(chain[0].get()), 0);
  EXPECT_EQ(X509_get_key_usage(chain[0].get()), static_cast<uint32_t>(KU_DIGITAL_SIGNATURE));
  EXPECT_EQ(X509_get_extended_key_usage(chain[0].get()),
            static_cast<uint32_t>(XKU_SSL_CLIENT | XKU_SSL_SERVER));
  EXPECT_EQ(CertificatePem(chain[1].get()), cluster.authority.certificate_pem());
  EXPECT_EQ(X509_check_ca(chain[1].get()), 1);
  EXPECT_EQ(X509_get_pathlen(chain[1].get()), 0);
}

TEST(CertificateAuthorityTest, SerialNumbersDiffer) {
  const TestCluster cluster;
  const SigningRequest request = RequestOf({"test", "a", {}});
  const auto serial = [&] {
    const auto chain =
        Must(ParseCertificates(Must(cluster.authority.Sign(request, WallNow())), "chain", 2));
    const openssl::Number number(
        ASN1_INTEGER_to_BN(X509_get0_serialNumber(chain[0].get()), nullptr));
    EXPECT_EQ(BN_is_negative(number.get()), 0);
    char* const text = BN_bn2hex(number.get());
    std::string copy(text);
    OPENSSL_free(text);
    return copy;
  };
  EXPECT_NE(serial(), serial());
}

TEST(CertificateAuthorityTest, RefusesOtherClustersAndLongLives) {
  const TestCluster cluster;
  const auto other = cluster.authority.Sign(RequestOf({"another", "a", {}}), WallNow());
  EXPECT_EQ(other.status().code(), Code::kInvalidArgument);
  EXPECT_THAT(other.status().message(), HasSubstr("for cluster 'another', this is 'test'"));
  const SigningRequest good = RequestOf({"test", "a", {}});
  using std::chrono::seconds;
  EXPECT_FALSE(cluster.authority.Sign(good, WallNow(), kNodeLife + seconds(1)).ok());
  EXPECT_FALSE(cluster.authority.Sign(good, WallNow(), seconds(0)).ok());
  EXPECT_TRUE(cluster.authority.Sign(good, WallNow(), seconds(1)).ok());
  EXPECT_FALSE(CertificateAuthority::Make("Not an id", WallNow()).ok());
}

TEST(CertificateAuthorityTest, IsKeptInFilesThatOthersCannotRead) {
  const TestCluster cluster;
  const TestFolder folder;
  const std::string at = folder.path + "/pki";
  ASSERT_TRUE(cluster.authority.Save(at).ok());
  for (const char* file : {"/authority.key", "/authority.pem"}) {
    struct stat facts {};
    ASSERT_EQ(::stat((at + file).c_str(), &facts), 0);
    EXPECT_EQ(facts.st_mode & 0777, 0600U) << file;
  }
  const CertificateAuthority again = Must(CertificateAuthority::Load(at));
  EXPECT_EQ(again.digest(), cluster.authority.digest());
  EXPECT_EQ(again.cluster(), "test");
  EXPECT_TRUE(again.Sign(RequestOf({"test", "a", {}}), WallNow()).ok());
  EXPECT_TRUE(again.Save(at).ok());  // the same one
  EXPECT_EQ(TestCluster().authority.Save(at).code(), Code::kConflict);
  EXPECT_EQ(Must(CertificateAuthority::Load(at)).digest(), again.digest());
}

TEST(CertificateAuthorityTest, LoadsNothingHalf) {
  const TestCluster cluster, other("other");
  const TestFolder folder;
  EXPECT_EQ(CertificateAuthority::Load(folder.path).status().code(), Code::kNotFound);
  ASSERT_TRUE(cluster.authority.Save(folder.path + "/a").ok());
  ASSERT_TRUE(other.authority.Save(folder.path + "/b").ok());
  std::filesystem::copy_file(folder.path + "/b/authority.key", folder.path + "/a/authority.key",
                             std::filesystem::copy_options::overwrite_existing);
  EXPECT_THAT(CertificateAuthority::Load(folder.path + "/a").status().message(),
              HasSubstr("is not the key of"));
  ::chmod((folder.path + "/b/authority.key").c_str(), 0640);
  const Status open = CertificateAuthority::Load(folder.path + "/b").status();
  EXPECT_EQ(open.code(), Code::kPermissionDenied);
  EXPECT_THAT(open.message(), HasSubstr("chmod 600"));
  // A node's certificate is no authority's.
  const std::string chain = cluster.Node("n").chain_pem;
  std::ofstream(folder.path + "/a/authority.pem")
      << chain.substr(0, chain.rfind("-----BEGIN CERTIFICATE-----"));
  EXPECT_THAT(CertificateAuthority::Load(folder.path + "/a").status().message(),
              HasSubstr("expected the certificate of a cluster's authority"));
}

TEST(SigningRequestTest, WhatWasAskedForIsReadBack) {
  const NodeIdentity asked{"test", "node-1", {"10.0.0.1", "fe80::1", "a.b.example"}};
  const SigningRequest read = RequestOf(asked);
  EXPECT_EQ(read.identity.cluster, "test");
  EXPECT_EQ(read.identity.node, "node-1");
  // Host names first.
  EXPECT_THAT(read.identity.addresses, ElementsAre("a.b.example", "10.0.0.1", "fe80::1"));
  EXPECT_TRUE(IsP256(read.key.get()));
}

TEST(SigningRequestTest, NobodyAsksForAnothersName) {
  for (const NodeIdentity& bad :
       {NodeIdentity{"test", "a", {"b.node.evenkeel.internal"}},
        NodeIdentity{"test", "a", {"node.evenkeel.internal"}}, NodeIdentity{"test", "A", {}},
        NodeIdentity{"test", "", {}}, NodeIdentity{"", "a", {}}, NodeIdentity{"test", "a.b", {}},
        NodeIdentity{"test", "a", {"*.example"}}, NodeIdentity{"test", "a", {""}},
        NodeIdentity{"test", "a", std::vector<std::string>(33, "10.0.0.1")}}) {
    EXPECT_EQ(MakeSigningRequest(bad).status().code(), Code::kInvalidArgument) << bad.node;
  }
}

// The same by somebody who makes requests by other means.
class ForgedRequest {
 public:
  ForgedRequest() : key(EVP_EC_gen("P-256")), request(X509_REQ_new()) { Subject("test", "a"); }
  void Subject(std::string_view cluster, std::string_view name) {
    X509_NAME* const subject = X509_NAME_new();
    SetSubject(subject, cluster, name);
    X509_REQ_set_subject_name(request.get(), subject);
    X509_NAME_free(subject);
  }
  void Names(const openssl::Names& names) {
    STACK_OF(X509_EXTENSION)* stack = nullptr;
    X509V3_add1_i2d(&stack, NID_subject_alt_name, names.get(), 0, X509V3_ADD_APPEND);
    X509_REQ_add_extensions(request.get(), stack);
    sk_X509_EXTENSION_pop_free(stack, X509_EXTENSION_free);
  }
  Status Read(EVP_PKEY* signer = nullptr) {
    X509_REQ_set_pubkey(request.get(), key.get());
    X509_REQ_sign(request.get(), signer == nullptr ? key.get() : signer, EVP_sha256());
    const openssl::Bio out(BIO_new(BIO_s_mem()));
    PEM_write_bio_X509_REQ(out.get(), request.get());
    return ReadSigningRequest(openssl::TextOf(out.get())).status();
  }

  openssl::Key key;
  openssl::Request request;
};

TEST(SigningRequestTest, ForgedRequestsAreRefusedWithTheReason) {
  EXPECT_TRUE(ForgedRequest().Read().ok());
  {
    ForgedRequest forged;
    forged.key.reset(EVP_RSA_gen(2048));
    EXPECT_THAT(forged.Read().message(), HasSubstr("on the curve P-256"));
  }
  {
    ForgedRequest forged;
    forged.key.reset(EVP_EC_gen("P-384"));
    EXPECT_THAT(forged.Read().message(), HasSubstr("on the curve P-256"));
  }
  {
    ForgedRequest forged;
    const openssl::Key other(EVP_EC_gen("P-256"));
    EXPECT_THAT(forged.Read(other.get()).message(), HasSubstr("not signed by the key"));
  }
  for (const std::string& name : {std::string("b\0.c", 4), std::string("B"), std::string("-")}) {
    ForgedRequest forged;
    forged.Subject("test", name);
    EXPECT_THAT(forged.Read().message(), HasSubstr("node name: expected"));
  }
  {
    ForgedRequest forged;
    X509_NAME_add_entry_by_txt(X509_REQ_get_subject_name(forged.request.get()), "CN", MBSTRING_UTF8,
                               reinterpret_cast<const unsigned char*>("b"), -1, -1, 0);
    EXPECT_THAT(forged.Read().message(), HasSubstr("subject: expected"));
  }
  {
    ForgedRequest forged;
    forged.Names(MakeNames({NodeDnsName("b")}, {}));
    EXPECT_THAT(forged.Read().message(), HasSubstr("are given to nodes, not asked for"));
  }
  {
    ForgedRequest forged;
    openssl::Names names(sk_GENERAL_NAME_new_null());
    GENERAL_NAME* const mail = GENERAL_NAME_new();
    ASN1_IA5STRING* const text = ASN1_IA5STRING_new();
    ASN1_STRING_set(text, "a@b", 3);
    GENERAL_NAME_set0_value(mail, GEN_EMAIL, text);
    sk_GENERAL_NAME_push(names.get(), mail);
    forged.Names(names);
    EXPECT_THAT(forged.Read().message(), HasSubstr("host names and addresses only"));
  }
}

TEST(SigningRequestTest, AnythingElseIsNoRequest) {
  const std::string good = Must(MakeSigningRequest({"test", "a", {}})).request_pem;
  EXPECT_EQ(ReadSigningRequest("").status().code(), Code::kInvalidArgument);
  EXPECT_EQ(ReadSigningRequest(good.substr(0, good.size() / 2)).status().code(),
            Code::kInvalidArgument);
  EXPECT_EQ(ReadSigningRequest(std::string(20'000, 'x')).status().code(), Code::kTooLarge);
  for (size_t i = 40; i < good.size() - 60; i += 7) {
    std::string broken = good;
    broken[i] = broken[i] == 'A' ? 'B' : 'A';
    if (broken != good) {
      EXPECT_FALSE(ReadSigningRequest(broken).ok()) << i;
    }
  }
}

TEST(NodeCertificateTest, BelongsTogetherAndSurvivesTheDisk) {
  const TestCluster cluster;
  const TestFolder folder;
  const NodeCertificate made = cluster.Node("a");
  EXPECT_EQ(made.cluster, "test");
  EXPECT_EQ(made.node, "a");
  ASSERT_TRUE(made.Save(folder.path).ok());
  struct stat facts {};
  ASSERT_EQ(::stat((folder.path + "/node.pem").c_str(), &facts), 0);
  EXPECT_EQ(facts.st_mode & 0777, 0600U);
  const NodeCertificate read = Must(NodeCertificate::Load(folder.path));
  EXPECT_EQ(read.chain_pem, made.chain_pem);
  EXPECT_EQ(read.key_pem, made.key_pem);
  EXPECT_EQ(read.authority_pem, cluster.authority.certificate_pem());
  EXPECT_EQ(read.not_after, made.not_after);

  const TestCluster other;
  EXPECT_FALSE(NodeCertificate::Create(made.chain_pem, cluster.Node("b").key_pem).ok());
  EXPECT_FALSE(NodeCertificate::Create(cluster.authority.certificate_pem(), made.key_pem).ok());
  const size_t second = made.chain_pem.rfind("-----BEGIN CERTIFICATE-----");
  EXPECT_THAT(
      NodeCertificate::Create(made.chain_pem.substr(0, second) + other.authority.certificate_pem(),
                              made.key_pem)
          .status()
          .message(),
      HasSubstr("not signed by the authority"));
}

TEST(CertificateLifeTest, RenewalIsDueWhenTwoThirdsAreOver) {
  const WallTime from{std::chrono::seconds(1000)}, to{std::chrono::seconds(4000)};
  EXPECT_EQ(RenewalTime(from, to), WallTime(std::chrono::seconds(3000)));
  EXPECT_FALSE(RenewalDue(from, to, WallTime(std::chrono::seconds(2999))));
  EXPECT_TRUE(RenewalDue(from, to, WallTime(std::chrono::seconds(3000))));
  EXPECT_TRUE(RenewalDue(from, to, WallTime(std::chrono::seconds(9000))));
}

}  // namespace
}  // namespace evenkeel::pki
