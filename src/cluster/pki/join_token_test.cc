#include "cluster/pki/join_token.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <rapidcheck.h>

#include <atomic>
#include <fstream>
#include <thread>

#include "cluster/pki/base32.h"
#include "cluster/pki/join_tokens.h"
#include "cluster/pki/pki_test_kit.h"
#include "cluster/pki/secret_file.h"

namespace evenkeel::pki {
namespace {

using std::chrono::seconds;
using testing::HasSubstr;

TEST(Base32Test, KnownTexts) {
  const auto encode = [](std::string_view text) {
    return EncodeBase32({reinterpret_cast<const uint8_t*>(text.data()), text.size()});
  };
  // RFC 4648, section 10, in lower case and without padding.
  EXPECT_EQ(encode(""), "");
  EXPECT_EQ(encode("f"), "my");
  EXPECT_EQ(encode("fo"), "mzxq");
  EXPECT_EQ(encode("foo"), "mzxw6");
  EXPECT_EQ(encode("foob"), "mzxw6yq");
  EXPECT_EQ(encode("fooba"), "mzxw6ytb");
  EXPECT_EQ(encode("foobar"), "mzxw6ytboi");
}

TEST(Base32Test, EveryValueHasOneText) {
  EXPECT_TRUE(rc::check("decode(encode(x)) == x", [](const std::vector<uint8_t>& bytes) {
    const auto decoded = DecodeBase32(EncodeBase32(bytes), nullptr);
    RC_ASSERT(decoded.has_value());
    RC_ASSERT(*decoded == bytes);
  }));
  size_t bad = 0;
  EXPECT_FALSE(DecodeBase32("mz", &bad).has_value());  // a bit beyond the byte is set
  EXPECT_EQ(bad, 2U);
  EXPECT_FALSE(DecodeBase32("m", &bad).has_value());
  EXPECT_FALSE(DecodeBase32("mz1", &bad).has_value());
  EXPECT_EQ(bad, 2U);
  EXPECT_TRUE(DecodeBase32("MY", &bad).has_value());
}

JoinToken Sample() {
  JoinToken token;
  for (size_t i = 0; i < token.authority.size(); ++i)
    token.authority[i] = static_cast<uint8_t>(i * 7);
  for (size_t i = 0; i < token.secret.size(); ++i) token.secret[i] = static_cast<uint8_t>(200 - i);
  return token;
}

std::string ErrorOf(std::string_view text) {
  const Result<JoinToken> token = ParseJoinToken(text);
  EXPECT_FALSE(token.ok());
  EXPECT_EQ(token.status().code(), Code::kInvalidArgument);
  return token.status().message();
}

TEST(JoinTokenTest, TextAndBack) {
  const std::string text = FormatJoinToken(Sample());
  EXPECT_EQ(text.size(), 92U);
  EXPECT_TRUE(text.starts_with("ekj_"));
  const JoinToken read = Must(ParseJoinToken("  " + text + "\n"));
  EXPECT_EQ(read.authority, Sample().authority);
  EXPECT_EQ(read.secret, Sample().secret);
  std::string upper = text;
  for (size_t i = 4; i < upper.size(); ++i)
    upper[i] = static_cast<char>(std::toupper(static_cast<unsigned char>(upper[i])));
  EXPECT_EQ(Must(ParseJoinToken(upper)).secret, Sample().secret);
}

TEST(JoinTokenTest, ErrorsSayWhatIsWrongAndNeverTheSecret) {
  const std::string text = FormatJoinToken(Sample());
  EXPECT_EQ(ErrorOf(""), "join token: expected one that begins with ekj_");
  EXPECT_EQ(ErrorOf("eyJhbGciOi"), "join token: expected one that begins with ekj_");
  EXPECT_THAT(ErrorOf(text.substr(0, 50)), HasSubstr("expected 92 characters, got 50"));
  EXPECT_THAT(ErrorOf(text + "a"), HasSubstr("expected 92 characters, got 93"));
  std::string odd = text;
  odd[9] = '1';
  EXPECT_THAT(ErrorOf(odd), HasSubstr("got '1' at position 10"));
  for (size_t i = 4; i < text.size(); ++i) {
    std::string mistyped = text;
    mistyped[i] = mistyped[i] == 'a' ? 'b' : 'a';
    if (mistyped == text) continue;
    const std::string error = ErrorOf(mistyped);
    EXPECT_EQ(error, "join token: a character is wrong") << i;
  }
}

TEST(JoinTokenTest, ANewNodeKnowsTheAuthorityByTheToken) {
  const TestCluster cluster, other;
  JoinToken token = Sample();
  token.authority = cluster.authority.digest();
  EXPECT_TRUE(CheckAuthority(token, cluster.authority.certificate_pem()).ok());
  EXPECT_EQ(CheckAuthority(token, other.authority.certificate_pem()).code(),
            Code::kUnauthenticated);
  EXPECT_EQ(CheckAuthority(token, "").code(), Code::kUnauthenticated);
}

class JoinTokensTest : public testing::Test {
 protected:
  JoinTokens Tokens() const { return {folder_.path + "/tokens", authority_}; }
  std::string Refused(const JoinTokens& tokens, const std::string& text, WallTime now) const {
    const Status status = tokens.Redeem(text, now);
    EXPECT_EQ(status.code(), Code::kUnauthenticated) << status.ToString();
    return status.message();
  }

  const TestFolder folder_;
  const Sha256 authority_ = Sample().authority;
  const WallTime now_{seconds(1'800'000'000)};
};

TEST_F(JoinTokensTest, ATokenIsGoodOnceAlsoAcrossRestarts) {
  const std::string a = Must(Tokens().Make(seconds(600), now_));
  const std::string b = Must(Tokens().Make(seconds(600), now_));
  EXPECT_NE(a, b);
  EXPECT_TRUE(Tokens().Redeem(a, now_).ok());
  EXPECT_THAT(Refused(Tokens(), a, now_), HasSubstr("was used already"));
  EXPECT_TRUE(Tokens().Redeem(b, now_ + seconds(599)).ok());
}

TEST_F(JoinTokensTest, OfManyWhoTryOneSucceeds) {
  for (int round = 0; round < 20; ++round) {
    const std::string text = Must(Tokens().Make(seconds(600), now_));
    std::atomic<int> good{0};
    std::vector<std::thread> threads;
    for (int i = 0; i < 4; ++i)
      threads.emplace_back([&] { good += Tokens().Redeem(text, now_).ok(); });
    for (std::thread& thread : threads) thread.join();
    EXPECT_EQ(good, 1);
  }
}

TEST_F(JoinTokensTest, TokensExpireAndAreNotFromTheFuture) {
  const std::string late = Must(Tokens().Make(seconds(600), now_));
  EXPECT_THAT(Refused(Tokens(), late, now_ + seconds(600)), HasSubstr("has expired"));
  EXPECT_THAT(Refused(Tokens(), late, now_), HasSubstr("was used already"));
  const std::string early = Must(Tokens().Make(seconds(600), now_));
  EXPECT_THAT(Refused(Tokens(), early, now_ - kClockSkew - seconds(1)),
              HasSubstr("made in the future"));
  EXPECT_TRUE(Tokens().Redeem(early, now_ - kClockSkew).ok());
}

TEST_F(JoinTokensTest, OtherTokensAreRefused) {
  const JoinTokens other(folder_.path + "/tokens", Sha256{});
  EXPECT_THAT(Refused(Tokens(), Must(other.Make(seconds(60), now_)), now_),
              HasSubstr("another cluster's"));
  EXPECT_THAT(Refused(Tokens(), FormatJoinToken(Sample()), now_),
              HasSubstr("never given out here"));
  EXPECT_EQ(Tokens().Redeem("ekj_x", now_).code(), Code::kInvalidArgument);
  EXPECT_FALSE(Tokens().Make(seconds(0), now_).ok());
  EXPECT_FALSE(Tokens().Make(kMaxTokenLife + seconds(1), now_).ok());
}

TEST_F(JoinTokensTest, TheDiskHoldsNoSecret) {
  const std::string text = Must(Tokens().Make(seconds(600), now_));
  const JoinToken token = Must(ParseJoinToken(text));
  const std::string secret(token.secret.begin(), token.secret.end());
  size_t files = 0;
  for (const auto& entry : std::filesystem::directory_iterator(folder_.path + "/tokens")) {
    ++files;
    const std::string content = Must(ReadSecretFile(entry.path().string()));  // mode 0600 as well
    EXPECT_EQ(content, "1800000000 1800000600\n");
    EXPECT_EQ(text.find(entry.path().stem().string()), std::string::npos);
    EXPECT_EQ(content.find(secret), std::string::npos);
  }
  EXPECT_EQ(files, 1U);
}

TEST_F(JoinTokensTest, HowManyAreOutIsBoundedAndTheExpiredMakeRoom) {
  const std::string folder = folder_.path + "/tokens";
  const JoinTokens tokens(folder, authority_, 5);
  for (int i = 0; i < 5; ++i) ASSERT_TRUE(tokens.Make(seconds(60), now_).ok());
  EXPECT_EQ(tokens.Make(seconds(60), now_).status().code(), Code::kOverloaded);
  EXPECT_TRUE(tokens.Make(seconds(60), now_ + seconds(60)).ok());
  EXPECT_EQ(std::distance(std::filesystem::directory_iterator(folder), {}), 1);
}

TEST_F(JoinTokensTest, ABrokenFileIsNoInvitation) {
  const std::string text = Must(Tokens().Make(seconds(600), now_));
  const std::string path =
      std::filesystem::directory_iterator(folder_.path + "/tokens")->path().string();
  for (const char* content : {"", "1", "a b\n", "1 -1\n", " \n", "\n 1 2"}) {
    ASSERT_TRUE(WriteSecretFile(path, content).ok());
    EXPECT_EQ(Tokens().Redeem(text, now_).code(), Code::kInternal) << content;
  }
}

}  // namespace
}  // namespace evenkeel::pki
