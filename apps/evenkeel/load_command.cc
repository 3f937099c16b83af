// `evenkeel load MODEL...` and `evenkeel unload MODEL...`
#include <CLI/CLI.hpp>
#include <cstdio>
#include <memory>
#include <nlohmann/json.hpp>

#include "api.h"
#include "commands.h"
#include "core/format.h"
#include "progress_line.h"

namespace evenkeel {
namespace {

constexpr const char* kLoadExamples =
    "  evenkeel load digits                        load it, or reload it without dropping "
    "requests\n"
    "  evenkeel load digits magika                 several, one after the other\n"
    "  evenkeel ls                                 what came of it";
constexpr const char* kUnloadExamples =
    "  evenkeel unload digits                      answer what is in flight, then free its memory\n"
    "  evenkeel unload --dry-run digits            only say what would be done";

struct Change {
  std::string verb;  // as in the URL
  std::string done;
  std::string doing;
  Api api;
  std::vector<std::string> models;
  bool dry_run = false;
};

// The line for the model at `at` while it takes its time: models a second and the time left are those of the ones before it. A single model does
// not say how far it is.
void Show(const Change& change, size_t at, ProgressLine* line) {
  const size_t count = change.models.size();
  const double seconds = Seconds(line->elapsed());
  std::string text = fmt::format("{} {} ({} of {}), {:.0f} s", change.doing, change.models[at],
                                 at + 1, count, seconds);
  if (at > 0) {
    const double each = seconds / static_cast<double>(at);
    text += fmt::format(", {:.2g}/s, {} left", 1 / each,
                        TimeLeftText(each * static_cast<double>(count) - seconds));
  }
  line->Draw(count == 1 ? -1 : static_cast<double>(at) / static_cast<double>(count), text);
}

// Every model is tried; the exit code is that of the last that failed.
void Apply(const Change& change) {
  int code = 0;
  ProgressLine line;
  for (size_t i = 0; i < change.models.size(); ++i) {
    const std::string& model = change.models[i];
    const std::string target = "/v2/repository/models/" + PathPart(model) + "/" + change.verb;
    if (change.dry_run) {
      std::printf("would %s %s: POST %s%s\n", change.verb.c_str(), model.c_str(),
                  change.api.server().c_str(), target.c_str());
      continue;
    }
    try {
      change.api.Post(target, nlohmann::ordered_json::object(),
                      [&](bool waiting) { waiting ? Show(change, i, &line) : line.Erase(); });
      std::fprintf(stderr, "%s %s\n", change.done.c_str(), model.c_str());
    } catch (const CLI::RuntimeError& failed) {  // its message is out
      code = failed.get_exit_code();
    }
  }
  if (code != 0) throw CLI::RuntimeError(code);
}

CLI::App* Register(CLI::App& app, const std::string& verb, const std::string& done,
                   const std::string& doing, const std::string& help) {
  CLI::App* command = app.add_subcommand(verb, help);
  auto change = std::make_shared<Change>();
  change->verb = verb;
  change->done = done;
  change->doing = doing;
  command->add_option("MODEL", change->models, "Names of models")->required();
  change->api.AddFlags(*command);
  command->add_flag("--dry-run", change->dry_run, "Only say what would be done");
  command->callback([change] { Apply(*change); });
  return command;
}

}  // namespace

void RegisterLoad(CLI::App& app) {
  Register(app, "load", "Loaded", "loading",
           "Load models, or load them again after their files changed")
      ->footer(kLoadExamples);
}

void RegisterUnload(CLI::App& app) {
  Register(app, "unload", "Unloaded", "unloading",
           "Unload models; requests in flight are still answered")
      ->footer(kUnloadExamples);
}

}  // namespace evenkeel
