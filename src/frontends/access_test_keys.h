// An Authorizer over a store of its own, with a key of each kind, for the front ends' tests.
// Thread-safety: single-owner.
#pragma once

#include <gtest/gtest.h>

#include <filesystem>
#include <memory>
#include <string>

#include "access/authorizer.h"

namespace evenkeel {

class TestKeys {
 public:
  TestKeys() {
    std::filesystem::remove_all(folder_);
    infer = Make("infer", "infer:echo infer:chatty");
    all_models = Make("all-models", "infer:*");
    manage = Make("manage", "manage");
    metrics = Make("metrics", "metrics");
    expired = Make("expired", "infer:* manage metrics", now_s + 1);
    revoked = Make("revoked", "infer:* manage metrics");
    EXPECT_TRUE(store_.Revoke("revoked", now_s).ok());
    auto opened = Authorizer::Open(store_.path(), AuthMode::kAuto, [this] { return now_s; });
    EXPECT_TRUE(opened.ok());
    authorizer = std::move(*opened);
    ++now_s;
  }
  ~TestKeys() { std::filesystem::remove_all(folder_); }
  TestKeys(const TestKeys&) = delete;
  TestKeys& operator=(const TestKeys&) = delete;

  // The running Authorizer knows it when this returns.
  void Revoke(const std::string& name) {
    EXPECT_TRUE(store_.Revoke(name, now_s).ok());
    authorizer->Refresh();
  }

  int64_t now_s = 1'000'000;
  std::string infer, all_models, manage, metrics, expired, revoked;
  const std::string wrong = "ek_aaaaaaaa_" + std::string(52, 'a');
  std::unique_ptr<Authorizer> authorizer;

 private:
  std::string Make(const std::string& name, const std::string& scopes, int64_t expires_s = 0) {
    const auto made = store_.Create({name, *ParseScopes(scopes), expires_s}, now_s);
    EXPECT_TRUE(made.ok()) << made.status().message();
    return made.ok() ? made->text : std::string();
  }

  const std::filesystem::path folder_ =
      std::filesystem::path(testing::TempDir()) /
      (std::string("keys_") +
       testing::UnitTest::GetInstance()->current_test_info()->test_suite_name() + "_" +
       testing::UnitTest::GetInstance()->current_test_info()->name());
  const KeyStore store_{KeyStorePath(folder_.string())};
};

}  // namespace evenkeel
