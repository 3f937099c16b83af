#include "access/authorizer.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <chrono>
#include <filesystem>
#include <fstream>
#include <thread>

#include "access/key_watch.h"

namespace evenkeel {
namespace {

namespace fs = std::filesystem;
using testing::HasSubstr;
using testing::Not;

class AuthorizerTest : public testing::Test {
 protected:
  void SetUp() override {
    folder_ = fs::path(testing::TempDir()) /
              ("authorizer_" +
               std::string(testing::UnitTest::GetInstance()->current_test_info()->name()));
    fs::remove_all(folder_);
  }
  void TearDown() override { fs::remove_all(folder_); }

  std::string path() const { return KeyStorePath(folder_.string()); }
  std::unique_ptr<Authorizer> Open(AuthMode mode = AuthMode::kAuto) {
    auto opened = Authorizer::Open(path(), mode, [this] { return now_s_; });
    EXPECT_TRUE(opened.ok()) << opened.status().message();
    return opened.ok() ? std::move(*opened) : nullptr;
  }
  std::string Make(const std::string& name, const std::string& scopes, int64_t expires_s = 0) {
    const auto made = KeyStore(path()).Create({name, *ParseScopes(scopes), expires_s}, now_s_);
    EXPECT_TRUE(made.ok()) << made.status().message();
    return made.ok() ? made->text : std::string();
  }
  void Revoke(const std::string& name) { EXPECT_TRUE(KeyStore(path()).Revoke(name, now_s_).ok()); }

  static Authorization Fields(std::initializer_list<std::string_view> fields) {
    Authorization authorization;
    for (const std::string_view field : fields) authorization.Add(field);
    return authorization;
  }
  static CallerAccess With(const Authorizer& authorizer, const std::string& key) {
    const std::string field = "Bearer " + key;
    return authorizer.Identify(Fields({field}));
  }
  static std::string WhyNot(const CallerAccess& access) {
    const Status status = access.CheckKey();
    EXPECT_EQ(status.code(), Code::kUnauthenticated);
    return status.message();
  }

  fs::path folder_;
  int64_t now_s_ = 1'000'000;
};

TEST_F(AuthorizerTest, WithoutKeysEverybodyMayDoEverything) {
  const auto authorizer = Open();
  EXPECT_FALSE(authorizer->required());
  for (const CallerAccess& access :
       {authorizer->Identify({}), With(*authorizer, "none"), authorizer->Renew({})}) {
    EXPECT_TRUE(access.CheckKey().ok());
    EXPECT_TRUE(access.CheckInfer("digits").ok());
    EXPECT_TRUE(access.CheckSee("").ok());
    EXPECT_TRUE(access.CheckManage().ok());
    EXPECT_TRUE(access.CheckMetrics().ok());
    EXPECT_EQ(access.By(), "");
  }
}

TEST_F(AuthorizerTest, AnAccessThatNobodyFilledInMayDoNothing) {
  const CallerAccess access;
  for (const Status& status : {access.CheckKey(), access.CheckInfer("a"), access.CheckSee("a"),
                               access.CheckManage(), access.CheckMetrics()})
    EXPECT_EQ(status.code(), Code::kUnauthenticated);
  EXPECT_FALSE(access.Sees("a"));
}

TEST_F(AuthorizerTest, AKeyMayDoWhatItsScopesSayAndNothingElse) {
  const std::string infer = Make("infer", "infer:team-*"), manage = Make("manage", "manage"),
                    metrics = Make("metrics", "metrics"),
                    all = Make("all", "infer:* manage metrics");
  const auto authorizer = Open();
  struct Case {
    std::string key;
    bool infers, infers_other, sees, sees_other, manages, measures;
  };
  for (const Case& c : {Case{infer, true, false, true, false, false, false},
                        Case{manage, false, false, true, true, true, false},
                        Case{metrics, false, false, false, false, false, true},
                        Case{all, true, true, true, true, true, true}}) {
    const CallerAccess access = With(*authorizer, c.key);
    ASSERT_TRUE(access.CheckKey().ok());
    const auto expect = [&](const Status& status, bool allowed, const char* what) {
      EXPECT_EQ(status.code(), allowed ? Code::kOk : Code::kPermissionDenied)
          << access.By() << " " << what;
      EXPECT_THAT(status.message(), Not(HasSubstr(c.key)));
    };
    expect(access.CheckInfer("team-a"), c.infers, "infer");
    expect(access.CheckInfer("digits"), c.infers_other, "infer another");
    expect(access.CheckSee("team-a"), c.sees, "see");
    expect(access.CheckSee("digits"), c.sees_other, "see another");
    expect(access.CheckManage(), c.manages, "manage");
    expect(access.CheckMetrics(), c.measures, "metrics");
    EXPECT_EQ(access.Sees("digits"), c.sees_other);
  }
  EXPECT_EQ(With(*authorizer, infer).By(), " by API key 'infer'");
  EXPECT_EQ(With(*authorizer, infer).CheckManage().message(),
            "API key 'infer' has no scope manage");
  EXPECT_EQ(With(*authorizer, infer).CheckInfer("digits").message(),
            "API key 'infer' has no scope infer: for model 'digits'");
}

TEST_F(AuthorizerTest, WhatIsNoKeyIsRefusedWithTheReasonAndWithoutACopyOfIt) {
  const std::string key = Make("ci", "manage");
  const auto authorizer = Open();
  const std::string good = "Bearer " + key;
  EXPECT_THAT(WhyNot(authorizer->Identify({})), HasSubstr("Authorization: Bearer KEY"));
  const std::string long_one = "Bearer " + std::string(10'000, 'x');
  for (const std::string& field :
       {std::string(), std::string(" "), std::string("Bearer"), std::string("Bearer "),
        std::string("Bearer    "), "Basic " + key, key, "Bearer\t" + key, "Bearer" + key,
        "bearer_" + key, std::string("\xff\xfe"), std::string(7, '\0')})
    EXPECT_THAT(WhyNot(authorizer->Identify(Fields({field}))), HasSubstr("Bearer KEY")) << field;
  for (const std::string& field :
       {long_one, good + "x", good + " ", good + " " + key, std::string("Bearer none"),
        std::string("Bearer \xc3\xa9"), "Bearer " + std::string(kKeySize, '\xff')}) {
    const std::string why = WhyNot(authorizer->Identify(Fields({field})));
    EXPECT_EQ(why, "unknown API key");
  }
  EXPECT_THAT(WhyNot(authorizer->Identify(Fields({good, good}))), HasSubstr("one field"));
  EXPECT_THAT(WhyNot(authorizer->Identify(Fields({"", good}))), HasSubstr("one field"));
  for (const std::string scheme : {"Bearer ", "bearer ", "BEARER   "})
    EXPECT_TRUE(authorizer->Identify(Fields({scheme + key})).CheckKey().ok()) << scheme;
}

TEST_F(AuthorizerTest, ASecretThatDiffersAnywhereIsUnknown) {
  const std::string key = Make("ci", "manage");
  const auto authorizer = Open();
  for (size_t i = kKeySize - kKeySecretSize; i < kKeySize; ++i) {
    std::string other = key;
    other[i] = other[i] == 'a' ? 'b' : 'a';
    EXPECT_EQ(WhyNot(With(*authorizer, other)), "unknown API key") << i;
  }
}

TEST_F(AuthorizerTest, ExpiryIsByTheWallClockAtEachCall) {
  const std::string key = Make("ci", "manage", now_s_ + 10);
  const auto authorizer = Open();
  const CallerAccess access = With(*authorizer, key);
  EXPECT_TRUE(access.CheckKey().ok());
  EXPECT_EQ(authorizer->valid_keys(), 1U);
  now_s_ += 9;
  EXPECT_TRUE(authorizer->Renew(access).CheckKey().ok());
  ++now_s_;
  EXPECT_EQ(WhyNot(With(*authorizer, key)), "the API key has expired");
  EXPECT_EQ(WhyNot(authorizer->Renew(access)), "the API key has expired");
  EXPECT_EQ(authorizer->valid_keys(), 0U);
  EXPECT_TRUE(authorizer->required());
}

TEST_F(AuthorizerTest, ARevokedKeyIsSaidToBeRevokedOnlyToWhoHasIt) {
  const std::string key = Make("ci", "manage");
  const auto authorizer = Open();
  const CallerAccess access = With(*authorizer, key);
  Revoke("ci");
  EXPECT_TRUE(With(*authorizer, key).CheckKey().ok());  // until it looks
  authorizer->Refresh();
  EXPECT_EQ(WhyNot(With(*authorizer, key)), "the API key was revoked");
  EXPECT_EQ(WhyNot(authorizer->Renew(access)), "the API key was revoked");
  std::string other = key;
  other.back() = other.back() == 'a' ? 'q' : 'a';
  EXPECT_EQ(WhyNot(With(*authorizer, other)), "unknown API key");
  // A key was made once: that all are revoked opens nothing.
  EXPECT_TRUE(authorizer->required());
  EXPECT_TRUE(Open()->required());
}

TEST_F(AuthorizerTest, TheFirstKeyClosesARunningServer) {
  const auto authorizer = Open();
  const CallerAccess before = authorizer->Identify({});
  const std::string key = Make("ci", "infer:*");
  authorizer->Refresh();
  EXPECT_TRUE(authorizer->required());
  EXPECT_EQ(authorizer->Identify({}).CheckKey().code(), Code::kUnauthenticated);
  EXPECT_EQ(authorizer->Renew(before).CheckKey().code(), Code::kUnauthenticated);
  EXPECT_TRUE(With(*authorizer, key).CheckInfer("digits").ok());
}

TEST_F(AuthorizerTest, ChangesInOneTickOfTheFileSystemAreAllSeen) {
  now_s_ = Authorizer::UnixSeconds();
  Make("first", "manage");
  const auto authorizer = Open();
  for (int i = 0; i < 20; ++i) {
    const std::string name = "key" + std::to_string(i);
    const std::string key = Make(name, "manage");
    authorizer->Refresh();
    EXPECT_TRUE(With(*authorizer, key).CheckKey().ok()) << i;
    Revoke(name);
    authorizer->Refresh();
    EXPECT_FALSE(With(*authorizer, key).CheckKey().ok()) << i;
  }
}

TEST_F(AuthorizerTest, AFileThatHasSettledIsReadAgainWhenItChanges) {
  now_s_ = Authorizer::UnixSeconds();
  const std::string first = Make("first", "manage");
  fs::last_write_time(path(), fs::file_time_type::clock::now() - std::chrono::hours(1));
  const auto authorizer = Open();
  authorizer->Refresh();
  EXPECT_TRUE(With(*authorizer, first).CheckKey().ok());
  const std::string second = Make("second", "manage");
  authorizer->Refresh();
  EXPECT_TRUE(With(*authorizer, second).CheckKey().ok());
  // The change is an hour old by its own word.
  Revoke("first");
  fs::last_write_time(path(), fs::file_time_type::clock::now() - std::chrono::hours(1));
  authorizer->Refresh();
  EXPECT_EQ(WhyNot(With(*authorizer, first)), "the API key was revoked");
}

TEST_F(AuthorizerTest, RequiredWithoutKeysLetsNobodyIn) {
  const auto authorizer = Open(AuthMode::kRequired);
  EXPECT_TRUE(authorizer->required());
  EXPECT_EQ(authorizer->Identify({}).CheckKey().code(), Code::kUnauthenticated);
  const std::string key = Make("ci", "manage");
  authorizer->Refresh();
  EXPECT_TRUE(With(*authorizer, key).CheckManage().ok());
}

TEST_F(AuthorizerTest, OffAsksNobodyAndReadsNothing) {
  Make("ci", "manage");
  std::ofstream(path(), std::ios::trunc) << "damaged, and it does not matter here";
  const auto authorizer = Open(AuthMode::kOff);
  authorizer->Refresh();
  EXPECT_FALSE(authorizer->required());
  EXPECT_TRUE(authorizer->Identify({}).CheckManage().ok());
  EXPECT_TRUE(Authorizer::Off().Identify({}).CheckManage().ok());
}

TEST_F(AuthorizerTest, AFileThatCannotBeReadIsNoAuthorizer) {
  Make("ci", "manage");
  std::ofstream(path(), std::ios::trunc) << "damaged";
  for (const AuthMode mode : {AuthMode::kAuto, AuthMode::kRequired}) {
    const auto opened = Authorizer::Open(path(), mode);
    ASSERT_FALSE(opened.ok());
    EXPECT_THAT(opened.status().message(), HasSubstr(path()));
  }
}

TEST_F(AuthorizerTest, WhatBecomesUnreadableLeavesTheKnownKeysInForce) {
  const std::string key = Make("ci", "manage");
  const auto authorizer = Open();
  std::ifstream in(path(), std::ios::binary);
  const std::string good{std::istreambuf_iterator<char>(in), std::istreambuf_iterator<char>()};
  for (const char* harm : {"damaged", "gone"}) {
    if (std::string(harm) == "gone") {
      fs::remove(path());
    } else {
      std::ofstream(path(), std::ios::trunc) << harm;
    }
    authorizer->Refresh();
    EXPECT_TRUE(With(*authorizer, key).CheckManage().ok()) << harm;
    EXPECT_FALSE(authorizer->Identify({}).CheckKey().ok()) << harm;
    std::ofstream(path(), std::ios::binary | std::ios::trunc) << good;
    ASSERT_EQ(::chmod(path().c_str(), 0600), 0);
    authorizer->Refresh();
    EXPECT_TRUE(With(*authorizer, key).CheckManage().ok()) << harm;
  }
  Revoke("ci");
  authorizer->Refresh();
  EXPECT_FALSE(With(*authorizer, key).CheckKey().ok());
}

TEST_F(AuthorizerTest, AFileThatCannotBeReadMayHoldKeysSoNobodyGetsIn) {
  const auto authorizer = Open();
  EXPECT_FALSE(authorizer->required());
  fs::create_directories(folder_);
  std::ofstream(path()) << "damaged";
  authorizer->Refresh();
  EXPECT_TRUE(authorizer->required());
  EXPECT_FALSE(authorizer->Identify({}).CheckKey().ok());
  fs::remove(path());
  authorizer->Refresh();
  EXPECT_TRUE(authorizer->required());  // it never turns back while the process runs
}

TEST_F(AuthorizerTest, TheWatchLooksByItself) {
  const auto authorizer = Open();
  const KeyWatch watch(*authorizer, std::chrono::milliseconds(1));
  const std::string key = Make("ci", "manage");
  const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(10);
  while (!authorizer->required() && std::chrono::steady_clock::now() < end)
    std::this_thread::yield();
  EXPECT_TRUE(With(*authorizer, key).CheckManage().ok());
}

}  // namespace
}  // namespace evenkeel
