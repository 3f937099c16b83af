#include "access/key_store.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sqlite3.h>
#include <sys/stat.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>

namespace evenkeel {
namespace {

namespace fs = std::filesystem;
using testing::HasSubstr;
using testing::Not;

class KeyStoreTest : public testing::Test {
 protected:
  void SetUp() override {
    folder_ =
        fs::path(testing::TempDir()) /
        ("key_store_" + std::string(testing::UnitTest::GetInstance()->current_test_info()->name()));
    fs::remove_all(folder_);
  }
  void TearDown() override { fs::remove_all(folder_); }

  std::string path() const { return KeyStorePath((folder_ / "state").string()); }
  KeyStore store() const { return KeyStore(path()); }
  static KeyWish Wish(const std::string& name, const std::string& scopes = "manage",
                      int64_t expires_s = 0) {
    return {name, *ParseScopes(scopes), expires_s};
  }
  MadeKey Make(const std::string& name, int64_t now_s = 1000) const {
    Result<MadeKey> made = store().Create(Wish(name), now_s);
    EXPECT_TRUE(made.ok()) << made.status().message();
    return made.ok() ? *made : MadeKey();
  }
  std::string Bytes() const {
    std::ifstream in(path(), std::ios::binary);
    return {std::istreambuf_iterator<char>(in), std::istreambuf_iterator<char>()};
  }
  void Write(const std::string& bytes) const {
    fs::create_directories(fs::path(path()).parent_path());
    std::ofstream(path(), std::ios::binary | std::ios::trunc) << bytes;
    ::chmod(path().c_str(), 0600);
  }
  void Sql(const std::string& text) const {
    sqlite3* db = nullptr;
    ASSERT_EQ(::sqlite3_open(path().c_str(), &db), SQLITE_OK);
    EXPECT_EQ(::sqlite3_exec(db, text.c_str(), nullptr, nullptr, nullptr), SQLITE_OK)
        << ::sqlite3_errmsg(db);
    ::sqlite3_close(db);
  }
  // What every call says of the file as it is now.
  void ExpectUnusable(const std::string& part) const {
    const std::vector<Status> all = {store().Read().status(),
                                     store().Create(Wish("new"), 1).status(),
                                     store().Revoke("ci", 1).status(), store().Find("ci").status()};
    for (const Status& status : all) {
      EXPECT_EQ(status.code(), Code::kUnavailable) << status.ToString();
      EXPECT_THAT(status.message(), HasSubstr(part));
      EXPECT_THAT(status.message(), HasSubstr(path()));
    }
  }

  fs::path folder_;
};

TEST_F(KeyStoreTest, WithoutAFileThereAreNoKeysAndNoneIsMade) {
  const Result<std::vector<KeyRecord>> keys = store().Read();
  ASSERT_TRUE(keys.ok()) << keys.status().message();
  EXPECT_TRUE(keys->empty());
  EXPECT_EQ(store().Revoke("ci", 1).status().code(), Code::kNotFound);
  EXPECT_EQ(store().Find("ci").status().code(), Code::kNotFound);
  EXPECT_FALSE(fs::exists(folder_));
}

TEST_F(KeyStoreTest, AKeyIsKeptAsEverythingButItself) {
  const Result<MadeKey> made = store().Create(Wish("ci", "infer:digits metrics", 5000), 1000);
  ASSERT_TRUE(made.ok()) << made.status().message();
  const Result<std::vector<KeyRecord>> keys = store().Read();
  ASSERT_TRUE(keys.ok()) << keys.status().message();
  ASSERT_EQ(keys->size(), 1U);
  const KeyRecord& key = keys->front();
  EXPECT_EQ(key.id, KeyIdOf(made->text));
  EXPECT_EQ(key.name, "ci");
  EXPECT_EQ(ToString(key.scopes), "infer:digits metrics");
  EXPECT_TRUE(SameDigest(key.digest, DigestOf(made->text)));
  EXPECT_EQ(key.created_s, 1000);
  EXPECT_EQ(key.expires_s, 5000);
  EXPECT_FALSE(key.revoked());
  EXPECT_FALSE(key.expired(4999));
  EXPECT_TRUE(key.expired(5000));
  EXPECT_THAT(Bytes(), Not(HasSubstr(made->text.substr(made->text.size() - kKeySecretSize))));
}

TEST_F(KeyStoreTest, OnlyTheOwnerCanReadTheFile) {
  const mode_t before = ::umask(0);
  Make("ci");
  ::umask(before);
  struct stat facts {};
  ASSERT_EQ(::stat(path().c_str(), &facts), 0);
  EXPECT_EQ(facts.st_mode & 0777U, 0600U);
}

TEST_F(KeyStoreTest, WhatRootMakesBelongsToTheOwnerOfTheFolder) {
  if (::geteuid() != 0) GTEST_SKIP() << "needs root";
  fs::create_directories(folder_ / "state");
  ASSERT_EQ(::chown((folder_ / "state").c_str(), 12345, 12346), 0);
  Make("ci");
  struct stat facts {};
  ASSERT_EQ(::stat(path().c_str(), &facts), 0);
  EXPECT_EQ(facts.st_uid, 12345U);
  EXPECT_EQ(facts.st_gid, 12346U);
}

TEST_F(KeyStoreTest, ANameInForceIsTakenUntilItIsRevoked) {
  const MadeKey first = Make("ci", 1000);
  const Result<MadeKey> again = store().Create(Wish("ci"), 1001);
  EXPECT_EQ(again.status().code(), Code::kConflict);
  EXPECT_THAT(again.status().message(), HasSubstr("'ci'"));
  ASSERT_TRUE(store().Revoke("ci", 1002).ok());
  const MadeKey second = Make("ci", 1003);
  EXPECT_NE(first.text, second.text);
  const auto keys = store().Read();
  ASSERT_TRUE(keys.ok());
  ASSERT_EQ(keys->size(), 2U);  // the revoked one stays
  EXPECT_EQ((*keys)[0].revoked_s, 1002);
  EXPECT_EQ((*keys)[1].revoked_s, 0);
}

TEST_F(KeyStoreTest, AKeyIsFoundByNameIdOrItself) {
  for (const int form : {0, 1, 2}) {
    const MadeKey made = Make("ci");
    const std::string which = form == 0 ? "ci" : form == 1 ? "ek_" + made.record.id : made.text;
    EXPECT_EQ(store().Find(which).value().id, made.record.id);
    const Result<KeyRecord> revoked = store().Revoke(which, 2000);
    ASSERT_TRUE(revoked.ok()) << revoked.status().message();
    EXPECT_EQ(revoked->id, made.record.id);
    EXPECT_EQ(store().Revoke(which, 2001).status().code(), Code::kNotFound);
  }
  // The bare id is a name, for a name may look like one.
  const MadeKey made = Make("other");
  EXPECT_EQ(store().Revoke(made.record.id, 2000).status().code(), Code::kNotFound);
}

TEST_F(KeyStoreTest, AMistypedKeyIsNotRepeatedInTheMessage) {
  Make("ci");
  const std::string secret = "secretsecret";
  for (const std::string& which : {"ek_abcdefgh_" + secret, "ek_" + secret, "ek_abcdefgh" + secret})
    EXPECT_THAT(store().Revoke(which, 1).status().message(), Not(HasSubstr(secret))) << which;
}

TEST_F(KeyStoreTest, WhatMakesNoSenseIsRefusedBeforeAFileIsMade) {
  for (const std::string& name :
       {std::string(), std::string(65, 'a'), std::string("a b"), std::string("-x"),
        std::string(".x"), std::string("a/b"), std::string("ek_x"), std::string("a\n"),
        std::string("\xc3\xa9")}) {
    EXPECT_EQ(store().Create({name, *ParseScopes("manage"), 0}, 1).status().code(),
              Code::kInvalidArgument)
        << name;
  }
  EXPECT_FALSE(store().Create({"ci", {}, 0}, 1).ok());
  EXPECT_FALSE(store().Create(Wish("ci", "manage", 1000), 1000).ok());
  EXPECT_FALSE(fs::exists(folder_));
  EXPECT_TRUE(store().Create(Wish(std::string(64, 'a')), 1).ok());
}

TEST_F(KeyStoreTest, ADamagedFileIsAnErrorAndStaysAsItIs) {
  Make("ci");
  const std::string good = Bytes();
  for (const std::string& bad :
       {std::string("not a database, but long enough to be taken for the beginning of one......."),
        std::string(), good.substr(0, good.size() / 2), std::string(4096, '\0')}) {
    Write(bad);
    EXPECT_EQ(store().Read().status().code(), Code::kUnavailable) << bad.size();
    EXPECT_EQ(store().Revoke("ci", 1).status().code(), Code::kUnavailable) << bad.size();
    EXPECT_EQ(Bytes(), bad);
  }
  Write("not a database, but long enough to be taken for the beginning of one.......");
  ExpectUnusable("damaged");
}

TEST_F(KeyStoreTest, AFileWhoseMakingWasCutShortSaysWhatMendsItAndIsMended) {
  Write("");
  for (const Status& status :
       {store().Read().status(), store().Find("ci").status(), store().Revoke("ci", 1).status()}) {
    EXPECT_EQ(status.code(), Code::kUnavailable);
    EXPECT_THAT(status.message(), HasSubstr("evenkeel key create"));
    EXPECT_THAT(status.message(), HasSubstr(path()));
    EXPECT_THAT(status.message(), Not(HasSubstr("damaged")));
  }
  EXPECT_EQ(Bytes(), "");
  Make("ci");
  const auto keys = store().Read();
  ASSERT_TRUE(keys.ok()) << keys.status().message();
  EXPECT_EQ(keys->size(), 1U);
}

TEST_F(KeyStoreTest, OneRowThatMakesNoSenseSpoilsTheFile) {
  for (const char* change : {"UPDATE api_keys SET scopes = 'everything'",
                             "UPDATE api_keys SET digest = x'00'", "UPDATE api_keys SET name = ''",
                             "UPDATE api_keys SET id = 'X'", "UPDATE api_keys SET scopes = ''"}) {
    fs::remove_all(folder_);
    Make("ci");
    Sql(change);
    EXPECT_EQ(store().Read().status().code(), Code::kUnavailable) << change;
  }
}

TEST_F(KeyStoreTest, AnotherLayoutIsNotTouched) {
  Make("ci");
  Sql("PRAGMA user_version = 9");
  ExpectUnusable("layout 9");
  fs::remove_all(folder_);
  Write("");
  Sql("CREATE TABLE others (x)");
  ExpectUnusable("no table of keys");
}

TEST_F(KeyStoreTest, AFileThatOthersMayWriteIsNotTrusted) {
  Make("ci");
  for (const mode_t mode : {0620, 0602, 0666}) {
    ASSERT_EQ(::chmod(path().c_str(), mode), 0);
    ExpectUnusable("chmod 600");
  }
  ASSERT_EQ(::chmod(path().c_str(), 0644), 0);
  EXPECT_TRUE(store().Read().ok());
}

TEST_F(KeyStoreTest, AFolderInItsPlaceIsAnError) {
  fs::create_directories(path());
  ExpectUnusable("expected a file");
}

TEST_F(KeyStoreTest, AReadOnlyFileIsReadAndNotChanged) {
  if (::geteuid() == 0) GTEST_SKIP() << "root may write everything";
  Make("ci");
  ASSERT_EQ(::chmod(path().c_str(), 0400), 0);
  EXPECT_TRUE(store().Read().ok());
  EXPECT_EQ(store().Create(Wish("new"), 1).status().code(), Code::kUnavailable);
  EXPECT_EQ(store().Revoke("ci", 1).status().code(), Code::kUnavailable);
}

TEST_F(KeyStoreTest, AWriterThatHangsIsAnErrorAndNotAWaitForEver) {
  Make("ci");
  sqlite3* db = nullptr;
  ASSERT_EQ(::sqlite3_open(path().c_str(), &db), SQLITE_OK);
  ASSERT_EQ(::sqlite3_exec(db, "BEGIN EXCLUSIVE", nullptr, nullptr, nullptr), SQLITE_OK);
  EXPECT_THAT(store().Read().status().message(), HasSubstr("locked"));
  ::sqlite3_close(db);
  EXPECT_TRUE(store().Read().ok());
}

TEST_F(KeyStoreTest, PastTheMostTheLongestRevokedGoes) {
  Make("ci");
  Make("old", 10);
  ASSERT_TRUE(store().Revoke("old", 20).ok());
  Make("older", 11);
  ASSERT_TRUE(store().Revoke("older", 15).ok());
  // Fill it up to the last place.
  Sql("WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < " +
      std::to_string(kMostKeys - 3) +
      ") INSERT INTO api_keys SELECT printf('%08d', i), 'k' || i, 'manage', zeroblob(32), 1, 0, 0 "
      "FROM n");
  Make("new");
  EXPECT_EQ(store().Find("new").value().name, "new");
  Make("newer");
  const Result<MadeKey> full = store().Create(Wish("newest"), 1000);
  EXPECT_EQ(full.status().code(), Code::kConflict) << full.status().message();
  EXPECT_TRUE(store().Find("ci").ok());
}

}  // namespace
}  // namespace evenkeel
