#include "cluster/home/cluster_home.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>

namespace evenkeel {
namespace {

using testing::HasSubstr;

class ClusterHomeTest : public testing::Test {
 protected:
  void SetUp() override {
    // Tests run beside each other.
    folder_ = testing::TempDir() + "/ek_cluster_home_" + std::to_string(getpid());
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
          {{"attic", "[fd00::3]:8010"}, {"shelf", "10.0.0.4:8010"}},
          {},
          {}};
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

TEST_F(ClusterHomeTest, WhatCannotBeLookedAtIsNoAbsence) {
  const std::string path = folder_ + "/cluster.json";
  std::filesystem::create_symlink(path, path);
  const auto circle = LoadClusterHome(folder_);
  EXPECT_EQ(circle.status().code(), Code::kUnavailable);
  EXPECT_THAT(circle.status().message(), HasSubstr(path));
}

TEST_F(ClusterHomeTest, AFolderThatIsClosedToThisUserIsNoAbsence) {
  if (::geteuid() == 0) GTEST_SKIP() << "root may look into every folder";
  ASSERT_TRUE(SaveClusterHome(folder_, Home()).ok());
  ASSERT_EQ(::chmod(folder_.c_str(), 0), 0);
  const auto closed = LoadClusterHome(folder_);
  ::chmod(folder_.c_str(), 0700);
  EXPECT_EQ(closed.status().code(), Code::kUnavailable);
  EXPECT_THAT(closed.status().message(), HasSubstr("Permission denied"));
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
  using std::string_literals::operator""s;
  for (const std::string& text : {"10.0.0.2\0:80"s, "10.0.0.2\0.example:80"s, "[::1\0]:80"s})
    EXPECT_FALSE(ParseHostPort(text).ok()) << text.size();
}

TEST(HostPortTest, OneHostMayBeWrittenInSeveralWays) {
  EXPECT_TRUE(SameAddress("10.0.0.2:8010", "10.0.0.2:8010"));
  EXPECT_TRUE(SameAddress("[::ffff:10.0.0.2]:8010", "10.0.0.2:8010"));
  EXPECT_TRUE(SameAddress("[::FFFF:a00:2]:8010", "10.0.0.2:8010"));
  EXPECT_TRUE(SameAddress("[fd00:0:0::2]:8010", "[FD00::2]:8010"));
  EXPECT_FALSE(SameAddress("10.0.0.2:8010", "10.0.0.2:8011"));
  EXPECT_FALSE(SameAddress("10.0.0.2:8010", "10.0.0.3:8010"));
  EXPECT_FALSE(SameAddress("[::10.0.0.2]:8010", "10.0.0.2:8010"));
  EXPECT_FALSE(SameAddress("nowhere", "nowhere"));
  EXPECT_TRUE(SameHost("::1", "0::1"));
  EXPECT_FALSE(SameHost("::1", "127.0.0.1"));
  EXPECT_FALSE(SameHost("desk.example", "desk.example"));
}

TEST(HostPortTest, AnAddressOfNobodyOrOfManyIsNoHosts) {
  for (const char* host : {"10.0.0.2", "127.0.0.1", "::1", "fd00::2", "fe80::1", "::ffff:10.0.0.2"})
    EXPECT_TRUE(CheckOneHost(host).ok()) << host;
  for (const char* host : {"0.0.0.0", "::", "::ffff:0.0.0.0", "224.0.0.1", "255.255.255.255",
                           "ff02::1", "::ffff:239.1.1.1", "desk.example", ""})
    EXPECT_EQ(CheckOneHost(host).code(), Code::kInvalidArgument) << host;
}

}  // namespace
}  // namespace evenkeel
