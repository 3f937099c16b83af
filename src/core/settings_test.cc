#include "core/settings.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>

#include "core/settings_file.h"

namespace evenkeel {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

class SettingsTest : public testing::Test {
 protected:
  void SetUp() override {
    folder_ = std::filesystem::path(testing::TempDir()) /
              testing::UnitTest::GetInstance()->current_test_info()->name();
    std::filesystem::create_directories(folder_);
    sources_.data_folder = "/data/evenkeel";
    sources_.state_folder = "/state/evenkeel";
    sources_.cache_folder = "/cache/evenkeel";
    sources_.working_folder = "/home/user";
  }
  void TearDown() override { std::filesystem::remove_all(folder_); }

  std::string WriteFile(const std::string& name, const std::string& text) {
    const std::string path = (folder_ / name).string();
    std::ofstream(path) << text;
    return path;
  }
  std::string ErrorOf(const SettingSources& sources) {
    const auto settings = Settings::Resolve(sources, nullptr);
    return settings.ok() ? "no error" : settings.status().message();
  }

  std::filesystem::path folder_;
  SettingSources sources_;
};

TEST_F(SettingsTest, DefaultsPassTheirOwnChecks) {
  for (const SettingSpec& spec : AllSettings()) {
    EXPECT_TRUE(CheckSetting(spec, spec.default_text).ok()) << spec.key;
  }
}

TEST_F(SettingsTest, NothingGivenLeavesDefaults) {
  const auto settings = Settings::Resolve(sources_, nullptr);
  ASSERT_TRUE(settings.ok());
  EXPECT_EQ(settings->integer("http.port"), 8000);
  EXPECT_EQ(settings->at("http.port").origin, "default");
  EXPECT_EQ(settings->text("models"), "/data/evenkeel/models");
  EXPECT_EQ(settings->text("cache"), "/cache/evenkeel");
  EXPECT_EQ(settings->duration("drain_timeout"), std::chrono::seconds(30));
  EXPECT_EQ(settings->bytes("max_body"), 64 << 20);
  EXPECT_FALSE(settings->flag("insecure"));
  EXPECT_TRUE(settings->cpus("worker_cpus").empty());
  EXPECT_FALSE(settings->emulated_gpu("emulated_gpu"));
}

TEST_F(SettingsTest, StrongestSourceWinsAndSaysSo) {
  const std::string own = WriteFile("own.yaml", "http:\n  port: 1\ngrpc: {port: 11}\nthreads: 5\n");
  const std::string system =
      WriteFile("system.yaml", "# all\nhttp:\n  port: 2\nmetrics:\n  port: 22\n");
  sources_.files = {own, system};
  sources_.environment = {{"EVENKEEL_HTTP_PORT", "3"}, {"EVENKEEL_GRPC_PORT", "33"}, {"PATH", "x"}};
  sources_.flags = {{"http.port", "4"}};
  const auto settings = Settings::Resolve(sources_, nullptr);
  ASSERT_TRUE(settings.ok()) << settings.status().ToString();
  EXPECT_EQ(settings->integer("http.port"), 4);
  EXPECT_EQ(settings->at("http.port").origin, "flag --http-port");
  EXPECT_EQ(settings->integer("grpc.port"), 33);
  EXPECT_EQ(settings->at("grpc.port").origin, "environment EVENKEEL_GRPC_PORT");
  EXPECT_EQ(settings->integer("threads"), 5);
  EXPECT_EQ(settings->at("threads").origin, own + ":4");
  EXPECT_EQ(settings->integer("metrics.port"), 22);
  EXPECT_EQ(settings->at("metrics.port").origin, system + ":5");
}

TEST_F(SettingsTest, OverruledValuesAreCheckedToo) {
  sources_.files = {WriteFile("config.yaml", "http:\n  port: many\n")};
  sources_.flags = {{"http.port", "4"}};
  EXPECT_THAT(ErrorOf(sources_), HasSubstr("config.yaml:2: http.port"));
}

TEST_F(SettingsTest, UnknownKeyNamesTheLineAndTheNearestKey) {
  sources_.files = {WriteFile("config.yaml", "threads: 2\nhttp:\n  prot: 80\n")};
  EXPECT_THAT(ErrorOf(sources_),
              testing::AllOf(HasSubstr("config.yaml:3"), HasSubstr("did you mean http.port?")));
}

TEST_F(SettingsTest, RepeatedKeyIsRefused) {
  sources_.files = {WriteFile("config.yaml", "threads: 2\nthreads: 3\n")};
  EXPECT_THAT(ErrorOf(sources_), HasSubstr("config.yaml:2: threads is given twice"));
}

TEST_F(SettingsTest, OtherShapesOfFilesAreRefused) {
  for (const char* yaml : {"[1, 2]", "threads: [1]", "http: 80", "http:\n - port",
                           "a: 1\n---\nb: 2\n", "? [x]\n: 1", "threads: {", "\tthreads: 1"}) {
    EXPECT_FALSE(ParseSettings("f", yaml).ok()) << yaml;
  }
  EXPECT_TRUE(ParseSettings("f", "")->empty());
  EXPECT_TRUE(ParseSettings("f", "# only a comment\n")->empty());
}

TEST_F(SettingsTest, UnreadableFileIsAnErrorAndAMissingOneIsNot) {
  sources_.files = {(folder_ / "none.yaml").string()};
  EXPECT_TRUE(Settings::Resolve(sources_, nullptr).ok());
  sources_.files = {folder_.string()};
  EXPECT_FALSE(Settings::Resolve(sources_, nullptr).ok());
}

TEST_F(SettingsTest, RelativeFoldersStartAtTheirSource) {
  sources_.files = {WriteFile("config.yaml", "state: var/./state/\n")};
  sources_.flags = {{"models", "models"}};
  const auto settings = Settings::Resolve(sources_, nullptr);
  ASSERT_TRUE(settings.ok());
  EXPECT_EQ(settings->text("models"), "/home/user/models");
  EXPECT_EQ(settings->text("state"), (folder_ / "var/state").string());
}

TEST_F(SettingsTest, FilesAreMadeAbsoluteAndMayBeEmpty) {
  sources_.files = {WriteFile("config.yaml", "tls:\n  cert_file: tls/cert.pem\n")};
  sources_.flags = {{"tls.key_file", "key.pem"}};
  const auto settings = Settings::Resolve(sources_, nullptr);
  ASSERT_TRUE(settings.ok()) << settings.status().ToString();
  EXPECT_EQ(settings->text("tls.cert_file"), (folder_ / "tls/cert.pem").string());
  EXPECT_EQ(settings->text("tls.key_file"), "/home/user/key.pem");
  EXPECT_EQ(settings->text("tls.ca_file"), "");
  EXPECT_FALSE(CheckSetting(*FindSetting("tls.ca_file"), std::string_view("a\0b", 3)).ok());
}

TEST_F(SettingsTest, MistypedVariableIsAWarning) {
  sources_.environment = {{"EVENKEEL_HTTP_PROT", "1"}, {"EVENKEEL_QUITE_ANOTHER_THING_OF_CI", "1"}};
  std::vector<std::string> warnings;
  ASSERT_TRUE(Settings::Resolve(sources_, &warnings).ok());
  EXPECT_THAT(warnings,
              ElementsAre("EVENKEEL_HTTP_PROT is no setting; did you mean EVENKEEL_HTTP_PORT?"));
}

TEST_F(SettingsTest, AKeyInTheEnvironmentIsNoSettingAndNoMistake) {
  sources_.environment = {{"EVENKEEL_API_KEY", "ek_secret"}, {"EVENKEEL_API_KEY_FILE", "ci.key"}};
  std::vector<std::string> warnings;
  const auto settings = Settings::Resolve(sources_, &warnings);
  ASSERT_TRUE(settings.ok());
  EXPECT_TRUE(warnings.empty());
  EXPECT_EQ(settings->text("api_key_file"), "ci.key");
  for (const Setting& setting : settings->all()) {
    EXPECT_EQ(setting.text.find("ek_secret"), std::string::npos) << setting.spec->key;
  }
}

TEST_F(SettingsTest, EachKindRefusesWhatIsOutside) {
  const std::pair<const char*, const char*> bad[] = {
      {"http.port", "65536"},   {"http.port", "-1"},          {"http.port", "8000x"},
      {"max_body", "10B"},      {"max_body", "1EiB"},         {"drain_timeout", "2h"},
      {"drain_timeout", "5"},   {"log_level", "loud"},        {"insecure", "yes"},
      {"worker_cpus", "3-1"},   {"worker_cpus", "1,"},        {"worker_cpus", "a"},
      {"http.address", "host"}, {"http.address", ""},         {"server", "127.0.0.1:1"},
      {"models", ""},           {"samples.mode", "Disk"},     {"samples.max_age", "-1s"},
      {"profiling", "on"},      {"ratio_threshold", "0"},     {"ratio_threshold", "1.01"},
      {"profile_drift", "1ms"}, {"ratio_threshold", "x"},     {"profile_after", "-1s"},
      {"emulated_gpu", "16c"},  {"emulated_gpu", "16c/4GiB"}, {"auth", "none"},
  };
  for (const auto& [key, text] : bad) {
    EXPECT_FALSE(CheckSetting(*FindSetting(key), text).ok()) << key << "=" << text;
  }
}

TEST_F(SettingsTest, NamesFollowFromTheKey) {
  EXPECT_EQ(EnvironmentName("samples.max_age"), "EVENKEEL_SAMPLES_MAX_AGE");
  EXPECT_EQ(FlagName("samples.max_age"), "--samples-max-age");
  EXPECT_EQ(FindSetting("nothing"), nullptr);
}

TEST_F(SettingsTest, CpuListsAreSortedSets) {
  EXPECT_THAT(*ParseCpus("8,0-2,1"), ElementsAre(0, 1, 2, 8));
  EXPECT_TRUE(ParseCpus("")->empty());
  EXPECT_FALSE(ParseCpus("0-5000").ok());
}

}  // namespace
}  // namespace evenkeel
