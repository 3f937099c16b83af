#include "server/cluster_options.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "core/settings.h"

namespace evenkeel {
namespace {

using testing::HasSubstr;

Result<ClusterOptions> OptionsOf(const SettingSources::Pairs& flags) {
  SettingSources sources;
  sources.data_folder = sources.state_folder = sources.cache_folder = "/none";
  sources.working_folder = "/";
  sources.flags = flags;
  const auto settings = Settings::Resolve(sources, nullptr);
  if (!settings.ok()) return settings.status();
  return ClusterOptionsOf(*settings);
}

TEST(ClusterOptionsTest, ANodeThatTheSettingsDoNotNameHasTheRestOfThemToo) {
  const auto options = OptionsOf({{"cluster.route", "two-choices"},
                                  {"cluster.replan", "auto"},
                                  {"cluster.balance", "method"},
                                  {"cluster.copy_rate", "1MiB"},
                                  {"cluster.lease", "3s"},
                                  {"max_body", "128MiB"}});
  ASSERT_TRUE(options.ok()) << options.status().ToString();
  EXPECT_EQ(options->name, "");
  EXPECT_EQ(options->route, RouteRule::kTwoChoices);
  EXPECT_TRUE(options->replan_auto);
  EXPECT_EQ(options->balance, BalanceRule::kMethod);
  EXPECT_EQ(options->copy_rate_bytes_s, 1 << 20);
  EXPECT_EQ(options->lease, std::chrono::seconds(3));
  EXPECT_EQ(options->max_message_bytes, size_t{129} << 20);
}

TEST(ClusterOptionsTest, ANodeThatIsNamedHasItsPeers) {
  const auto options = OptionsOf({{"cluster.name", "a"},
                                  {"cluster.peers", "b=10.0.0.2:8010,c=[::1]:8011"},
                                  {"cluster.route", "random"}});
  ASSERT_TRUE(options.ok()) << options.status().ToString();
  EXPECT_EQ(options->name, "a");
  EXPECT_EQ(options->route, RouteRule::kRandom);
  ASSERT_EQ(options->peers.size(), 2U);
  EXPECT_EQ(options->peers[1].name, "c");
  EXPECT_EQ(options->peers[1].address, "[::1]:8011");
}

TEST(ClusterOptionsTest, AMistakeNamesItsSetting) {
  EXPECT_THAT(OptionsOf({{"cluster.peers", "b=10.0.0.2:8010"}}).status().message(),
              HasSubstr("cluster.name"));
  EXPECT_THAT(OptionsOf({{"cluster.name", "a b"}}).status().message(), HasSubstr("cluster.name"));
  EXPECT_THAT(
      OptionsOf({{"cluster.name", "a"}, {"cluster.peers", "a=10.0.0.2:8010"}}).status().message(),
      HasSubstr("cluster.peers"));
}

}  // namespace
}  // namespace evenkeel
