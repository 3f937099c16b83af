// `evenkeel config show|path`: the settings in effect here, and where each comes from.
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <cstdio>
#include <memory>
#include <nlohmann/json.hpp>

#include "api.h"
#include "commands.h"
#include "core/settings.h"
#include "output.h"

namespace evenkeel {
namespace {

using Json = nlohmann::ordered_json;

constexpr const char* kExamples =
    "  evenkeel config show --origin               every setting and where its value comes from\n"
    "  evenkeel config show -o json                the same for programs\n"
    "  evenkeel config path                        the files that are read, strongest first";

struct ConfigOptions {
  Format format = Format::kTable;
  bool origin = false;
};

void Show(const ConfigOptions& options) {
  std::vector<std::string> warnings;
  const Result<Settings> settings = Settings::Resolve(DefaultSources(), &warnings);
  for (const std::string& line : warnings) std::fprintf(stderr, "evenkeel: %s\n", line.c_str());
  if (!settings.ok()) Fail(kExitUsage, settings.status().message());
  Listing listing;
  listing.columns = {{"KEY"},
                     {"VALUE"},
                     {"ORIGIN", false, !options.origin},
                     {"FLAG", false, true},
                     {"VARIABLE", false, true},
                     {"MEANING", false, true}};
  Json list = Json::array();
  for (const Setting& setting : settings->all()) {
    const std::string key(setting.spec->key);
    listing.rows.push_back({key, setting.text, setting.origin, FlagName(key), EnvironmentName(key),
                            std::string(setting.spec->help)});
    listing.names.push_back(key);
    list.push_back({{"key", key}, {"value", setting.text}, {"origin", setting.origin}});
  }
  Print(options.format, listing, {{"schema", "evenkeel.config/v1"}, {"settings", list}});
}

void Path(const ConfigOptions& options) {
  Listing listing;
  listing.columns = {{"FILE"}, {"STATE"}};
  Json list = Json::array();
  for (const std::string& file : DefaultSources().files) {
    const bool there = ::access(file.c_str(), F_OK) == 0;
    listing.rows.push_back({file, there ? "read" : "not there"});
    listing.names.push_back(file);
    list.push_back({{"path", file}, {"exists", there}});
  }
  Print(options.format, listing, {{"schema", "evenkeel.config-files/v1"}, {"files", list}});
}

}  // namespace

void RegisterConfig(CLI::App& app) {
  CLI::App* config =
      app.add_subcommand("config", "Show the settings in effect and where they come from");
  config->footer(kExamples);
  config->require_subcommand(1);
  auto options = std::make_shared<ConfigOptions>();
  CLI::App* show = config->add_subcommand("show", "Show every setting");
  show->footer(kExamples);
  show->add_flag("--origin", options->origin,
                 "Say where each value comes from (file:line, variable, default)");
  AddOutputFlag(*show, &options->format);
  show->callback([options] { Show(*options); });
  CLI::App* path = config->add_subcommand("path", "Show which files are read");
  path->footer(kExamples);
  AddOutputFlag(*path, &options->format);
  path->callback([options] { Path(*options); });
}

}  // namespace evenkeel
