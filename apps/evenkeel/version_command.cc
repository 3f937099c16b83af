// `evenkeel version`
#include <CLI/CLI.hpp>
#include <memory>
#include <nlohmann/json.hpp>

#include "commands.h"
#include "output.h"

namespace evenkeel {

void RegisterVersion(CLI::App& app) {
  CLI::App* version = app.add_subcommand("version", "Print the version");
  version->footer("  evenkeel version -o json");
  auto format = std::make_shared<Format>(Format::kTable);
  AddOutputFlag(*version, format.get(), /*listing=*/false);
  version->callback([format] {
    if (*format == Format::kTable) {
      std::printf("evenkeel %s\n", EVENKEEL_VERSION);
      return;
    }
    Print(*format, {},
          {{"schema", "evenkeel.version/v1"},
           {"version", EVENKEEL_VERSION},
           {"compiler", __VERSION__}});
  });
}

}  // namespace evenkeel
