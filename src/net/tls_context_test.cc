#include "net/tls_context.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

#include "net/tls_files.h"
#include "net/tls_test_pair.h"

namespace evenkeel {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

std::string ErrorOf(const TlsPairFiles& files, Code code) {
  const Result<TlsPair> pair = ReadTlsPair(files);
  EXPECT_FALSE(pair.ok());
  EXPECT_EQ(pair.status().code(), code) << pair.status().ToString();
  return pair.status().message();
}

TEST(TlsFilesTest, APairIsReadAndSaysWhatItIsFor) {
  const TlsTestPair pair;
  const Result<TlsPair> read = ReadTlsPair(pair.files());
  ASSERT_TRUE(read.ok()) << read.status().ToString();
  ASSERT_EQ(read->chain.size(), 1U);
  const CertificateFacts facts = FactsOf(read->chain[0].get());
  EXPECT_EQ(facts.subject, "CN = test");
  EXPECT_THAT(facts.names, ElementsAre("localhost", "127.0.0.1", "::1"));
  EXPECT_EQ(facts.not_after - facts.not_before, std::chrono::hours(24) + std::chrono::minutes(1));
}

TEST(TlsFilesTest, EveryErrorNamesTheFileAndWhatIsWrong) {
  const TlsTestPair pair, other;
  const TlsPairFiles& good = pair.files();
  const std::string text = pair.folder() + "/text";
  TlsTestPair::Replace(text, "not PEM\n");
  EXPECT_THAT(ErrorOf({"/no/such.pem", good.key}, Code::kNotFound),
              HasSubstr("'/no/such.pem': No such file"));
  EXPECT_THAT(ErrorOf({good.certificate, "/no/such.key"}, Code::kNotFound),
              HasSubstr("'/no/such.key': No such file"));
  EXPECT_THAT(ErrorOf({text, good.key}, Code::kInvalidArgument),
              HasSubstr("expected a certificate in PEM form"));
  EXPECT_THAT(ErrorOf({good.key, good.key}, Code::kInvalidArgument),
              HasSubstr("expected a certificate in PEM form"));
  EXPECT_THAT(ErrorOf({good.certificate, text}, Code::kInvalidArgument),
              HasSubstr("text': expected a private key in PEM form"));
  EXPECT_THAT(ErrorOf({good.certificate, other.files().key}, Code::kInvalidArgument),
              HasSubstr("they belong to different pairs"));
  EXPECT_THAT(ErrorOf({pair.folder(), good.key}, Code::kInvalidArgument), HasSubstr(pair.folder()));
  TlsTestPair::Replace(text, std::string((1 << 20) + 1, 'x'));
  EXPECT_THAT(ErrorOf({text, good.key}, Code::kInvalidArgument), HasSubstr("larger than 1 MiB"));
}

TEST(TlsFilesTest, WhetherOthersGetAtAKeyIsItsMode) {
  const TlsTestPair pair;
  const std::string& key = pair.files().key;
  for (const mode_t mode : {0600U, 0400U, 0640U, 0700U, 0660U}) {
    ASSERT_EQ(::chmod(key.c_str(), mode), 0);
    EXPECT_FALSE(OpenToOthers(key)) << mode;
  }
  for (const mode_t mode : {0644U, 0604U, 0602U, 0777U}) {
    ASSERT_EQ(::chmod(key.c_str(), mode), 0);
    EXPECT_TRUE(OpenToOthers(key)) << mode;
  }
  EXPECT_FALSE(OpenToOthers(pair.folder() + "/none"));
}

TEST(TlsFilesTest, AKeyWithAPassphraseIsRefusedWithoutAsking) {
  const TlsTestPair pair;
  const Result<TlsPair> read = ReadTlsPair(pair.files());
  ASSERT_TRUE(read.ok());
  const openssl::Bio out(BIO_new(BIO_s_mem()));
  char word[] = "secret";
  PEM_write_bio_PKCS8PrivateKey(out.get(), read->key.get(), EVP_aes_256_cbc(), word, 6, nullptr,
                                nullptr);
  TlsTestPair::Replace(pair.files().key, openssl::TextOf(out.get()));
  EXPECT_THAT(ErrorOf(pair.files(), Code::kInvalidArgument),
              HasSubstr("expected a key without a passphrase"));
}

TEST(TlsFilesTest, AChainThatIsCutShortIsBroken) {
  const TlsTestPair pair;
  std::string text;
  {
    const auto read = ReadCertificates(pair.files().certificate);
    ASSERT_TRUE(read.ok());
    const openssl::Bio out(BIO_new(BIO_s_mem()));
    PEM_write_bio_X509(out.get(), read->front().get());
    text = openssl::TextOf(out.get());
  }
  EXPECT_EQ(ParseCertificates(text + text, "x", 5)->size(), 2U);
  EXPECT_THAT(ParseCertificates(text + text.substr(0, text.size() / 2), "x", 5).status().message(),
              HasSubstr("x: certificate 2 is broken"));
  EXPECT_THAT(ParseCertificates(text + text, "x", 1).status().message(),
              HasSubstr("more than 1 certificates"));
}

TEST(TlsContextTest, AnExpiredCertificateIsLoadedAndSaysSo) {
  TlsTestPair::Wanted wanted;
  wanted.from = -std::chrono::hours(48);
  wanted.to = -std::chrono::hours(24);
  const TlsTestPair pair(wanted);
  const auto context = TlsServerContext::Load(pair.files());
  ASSERT_TRUE(context.ok()) << context.status().ToString();
  EXPECT_LT((*context)->facts().not_after, std::chrono::system_clock::now());
}

TEST(TlsContextTest, FilesAreReadAgainOnlyWhenTheyHaveChanged) {
  TlsTestPair pair;
  ManualClock clock;
  const auto context = TlsServerContext::Load(pair.files(), clock);
  ASSERT_TRUE(context.ok());
  const openssl::Context first = (*context)->Current();
  clock.Advance(std::chrono::seconds(10));
  EXPECT_EQ((*context)->Current(), first);
  pair.Write({});
  EXPECT_EQ((*context)->Current(), first);  // within two seconds of the last look
  clock.Advance(std::chrono::seconds(2));
  EXPECT_NE((*context)->Current(), first);
}

TEST(TlsContextTest, ClientsNeedCertificatesToTrustInTheFileTheyName) {
  const TlsTestPair pair;
  EXPECT_TRUE(MakeTlsClientContext(pair.files().certificate).ok());
  EXPECT_TRUE(MakeTlsClientContext("").ok());
  EXPECT_EQ(MakeTlsClientContext("/no/such").status().code(), Code::kNotFound);
  EXPECT_EQ(MakeTlsClientContext(pair.files().key).status().code(), Code::kInvalidArgument);
}

}  // namespace
}  // namespace evenkeel
