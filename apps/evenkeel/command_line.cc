#include "command_line.h"

#include <CLI/CLI.hpp>
#include <algorithm>
#include <memory>
#include <string_view>
#include <vector>

#include "core/suggest.h"

namespace evenkeel {
namespace {

// Examples (a subcommand's footer) come first: they are what most readers of a help text look for.
class ExamplesFirst final : public CLI::Formatter {
 public:
  ExamplesFirst() { column_width(34); }

  std::string make_help(const CLI::App* app, std::string name,
                        CLI::AppFormatMode mode) const override {
    if (mode == CLI::AppFormatMode::Sub) return make_expanded(app);
    std::string text;
    if (const std::string examples = app->get_footer(); !examples.empty()) {
      text += "Examples:\n" + examples + "\n\n";
    }
    text += make_description(app) + make_usage(app, name) + make_positionals(app);
    return text + make_groups(app, mode) + make_subcommands(app, mode);
  }
};

std::string Nearest(std::string_view word, const std::vector<std::string>& candidates) {
  const std::vector<std::string_view> views(candidates.begin(), candidates.end());
  return std::string(ClosestTo(word, views));
}

std::vector<std::string> VerbsOf(const CLI::App& app) {
  std::vector<std::string> names;
  for (const CLI::App* sub : app.get_subcommands({})) {
    if (!sub->get_group().empty()) names.push_back(sub->get_name());
    for (const std::string& alias : sub->get_aliases()) names.push_back(alias);
  }
  return names;
}

std::vector<std::string> FlagsOf(const CLI::App& app) {
  std::vector<std::string> names;
  for (const CLI::Option* option : app.get_options()) {
    for (const std::string& name : option->get_lnames()) names.push_back("--" + name);
  }
  return names;
}

// The subcommand that `words` lead to, and the first word that is no verb where one is needed.
struct Walk {
  const CLI::App* app;
  std::string path;
  std::string unknown_verb;
};

Walk Follow(const CLI::App& root, int argc, const char* const* argv) {
  Walk walk{&root, "evenkeel", {}};
  for (int i = 1; i < argc; ++i) {
    const std::string_view word = argv[i];
    if (word.starts_with("-")) continue;
    if (VerbsOf(*walk.app).empty()) break;
    const CLI::App* next = nullptr;
    for (const CLI::App* sub : walk.app->get_subcommands({})) {
      if (sub->check_name(std::string(word))) next = sub;
    }
    if (next == nullptr) {
      walk.unknown_verb = word;
      break;
    }
    walk.app = next;
    walk.path += " " + next->get_name();
  }
  return walk;
}

}  // namespace

void PrepareApp(CLI::App& app) {
  app.formatter(std::make_shared<ExamplesFirst>());
  app.set_help_flag("-h,--help", "Print this help and exit");
}

std::string ExplainParseError(const CLI::App& app, const CLI::ParseError& error, int argc,
                              const char* const* argv) {
  const Walk walk = Follow(app, argc, argv);
  std::string text;
  if (!walk.unknown_verb.empty()) {
    text = "'" + walk.unknown_verb + "' is not a verb of " + walk.path;
    if (const std::string near = Nearest(walk.unknown_verb, VerbsOf(*walk.app)); !near.empty()) {
      text += "; did you mean '" + walk.path + " " + near + "'?";
    }
    return text + "\nSee: " + walk.path + " --help";
  }
  text = error.what();
  const std::vector<std::string> flags = FlagsOf(*walk.app);
  for (int i = 1; i < argc; ++i) {
    const std::string_view argument = argv[i];
    const std::string flag(argument.substr(0, argument.find('=')));
    if (!flag.starts_with("--") || flag.size() < 4) continue;
    if (std::find(flags.begin(), flags.end(), flag) != flags.end()) continue;
    text = walk.path + " has no flag " + flag;
    if (const std::string near = Nearest(flag, flags); !near.empty()) {
      text += "; did you mean " + near + "?";
    }
    break;
  }
  return text + "\nSee: " + walk.path + " --help";
}

}  // namespace evenkeel
