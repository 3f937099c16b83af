#include "cluster/home/cluster_home.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>

namespace evenkeel {
namespace {

using testing::HasSubstr;

class ClusterHomeTest : public testing::Test {
 protected:
  void SetUp() override {
    folder_ = testing::TempDir() + "/ek_cluster_home";
    std::filesystem::remove_all(folder_);
    std::filesystem::create_directories(folder_);
  }
  void TearDown() override { std::filesystem::remove_all(folder_); }
  void Write(const std::string& text) { std::ofstream(folder_ + "/cluster.json") << text; }

  std::string folder_;
};

ClusterHome Home() {
  return {"abc-1",
          {"desk", "10.0.0.2:8010"},
          {{"attic", "[fd00::3]:8010"}, {"shelf", "10.0.0.4:8010"}}};
}

TEST_F(ClusterHomeTest, WhatIsSavedIsLoaded) {
  EXPECT_EQ(LoadClusterHome(folder_).status().code(), Code::kNotFound);
  ASSERT_TRUE(SaveClusterHome(folder_, Home()).ok());
  const auto home = LoadClusterHome(folder_);
  ASSERT_TRUE(home.ok()) << home.status().ToString();
  EXPECT_EQ(home->cluster, "abc-1");
  EXPECT_EQ(home->own, Home().own);
  EXPECT_EQ(home->peers, Home().peers);
  EXPECT_TRUE(home->Knows("desk"));
  EXPECT_TRUE(home->Knows("shelf"));
  EXPECT_FALSE(home->Knows("cellar"));
}

TEST_F(ClusterHomeTest, AnythingElseIsRefused) {
  ASSERT_TRUE(SaveClusterHome(folder_, Home()).ok());
  std::ifstream file(folder_ + "/cluster.json");
  const std::string good((std::istreambuf_iterator<char>(file)), {});
  for (size_t cut = 0; cut + 2 < good.size(); ++cut) {
    Write(good.substr(0, cut));
    EXPECT_FALSE(LoadClusterHome(folder_).ok()) << cut;
  }
  const auto bad = [&](const std::string& from, const std::string& to) {
    std::string text = good;
    text.replace(text.find(from), from.size(), to);
    Write(text);
    const auto home = LoadClusterHome(folder_);
    EXPECT_FALSE(home.ok()) << to;
    return home.ok() ? std::string() : home.status().message();
  };
  EXPECT_THAT(bad("cluster-home/v1", "cluster-home/v2"), HasSubstr("schema"));
  EXPECT_THAT(bad("10.0.0.2:8010", "10.0.0.2"), HasSubstr("ADDRESS:PORT"));
  EXPECT_THAT(bad("10.0.0.2:8010", "example.org:8010"), HasSubstr("numeric"));
  EXPECT_THAT(bad("10.0.0.2:8010", "10.0.0.2:0"), HasSubstr("ADDRESS:PORT"));
  EXPECT_THAT(bad("\"shelf\"", "\"attic\""), HasSubstr("twice"));
  EXPECT_THAT(bad("\"shelf\"", "\"desk\""), HasSubstr("twice"));
  EXPECT_THAT(bad("\"node\": \"desk\"", "\"nodes\": \"desk\""), HasSubstr("node"));
}

TEST(HostPortTest, OnlyNumericAddressesWithAPort) {
  const auto v4 = ParseHostPort("10.0.0.2:80");
  ASSERT_TRUE(v4.ok());
  EXPECT_EQ(v4->host, "10.0.0.2");
  EXPECT_EQ(v4->port, 80);
  const auto v6 = ParseHostPort("[::1]:8010");
  ASSERT_TRUE(v6.ok());
  EXPECT_EQ(v6->host, "::1");
  EXPECT_EQ(FormatHostPort("::1", 8010), "[::1]:8010");
  EXPECT_EQ(FormatHostPort("10.0.0.2", 80), "10.0.0.2:80");
  for (const char* text : {"", ":", "a:1", "10.0.0.2", "10.0.0.2:", "10.0.0.2:65536", "::1:80",
                           "[::1]", "[10.0.0.2]:80", "10.0.0.2:8a", "10.0.0:80"})
    EXPECT_FALSE(ParseHostPort(text).ok()) << text;
}

}  // namespace
}  // namespace evenkeel
