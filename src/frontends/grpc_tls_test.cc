#include "frontends/grpc_tls.h"

#include <gtest/gtest.h>

#include "net/tls_test_pair.h"

namespace evenkeel {
namespace {

class GrpcTlsPairTest : public testing::Test {
 protected:
  void SetUp() override {
    auto loaded = GrpcTlsPair::Load(files_.files(), clock_);
    ASSERT_TRUE(loaded.ok()) << loaded.status().ToString();
    pair_ = std::move(*loaded);
  }
  std::optional<GrpcTlsPair::Pem> TakeLater() {
    clock_.Advance(std::chrono::seconds(3));
    return pair_->Take();
  }

  TlsTestPair files_;
  ManualClock clock_;
  std::unique_ptr<GrpcTlsPair> pair_;
};

TEST_F(GrpcTlsPairTest, ItIsGivenOnceUntilItChanges) {
  const auto first = pair_->Take();
  ASSERT_TRUE(first);
  EXPECT_NE(first->chain.find("BEGIN CERTIFICATE"), std::string::npos);
  EXPECT_NE(first->key.find("PRIVATE KEY"), std::string::npos);
  EXPECT_FALSE(TakeLater());
  files_.Write({});
  EXPECT_FALSE(pair_->Take()) << "looked at more often than every two seconds";
  const auto second = TakeLater();
  ASSERT_TRUE(second);
  EXPECT_NE(second->chain, first->chain);
  EXPECT_FALSE(TakeLater());
}

TEST_F(GrpcTlsPairTest, FilesThatAreNoPairAreNotGiven) {
  ASSERT_TRUE(pair_->Take());
  const TlsTestPair other;
  std::filesystem::copy_file(other.files().key, files_.files().key + ".new");
  std::filesystem::rename(files_.files().key + ".new", files_.files().key);
  EXPECT_FALSE(TakeLater());
  std::filesystem::remove(files_.files().certificate);
  EXPECT_FALSE(TakeLater());
  files_.Write({});
  EXPECT_TRUE(TakeLater());
}

}  // namespace
}  // namespace evenkeel
