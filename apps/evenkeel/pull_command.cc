// `evenkeel pull PATH [--name NAME]`: a model from this machine's disk into the models folder.
#include <CLI/CLI.hpp>
#include <cstdio>
#include <memory>

#include "commands.h"
#include "figures.h"
#include "output.h"
#include "pull_model.h"

namespace evenkeel {
namespace {

constexpr const char* kExamples =
    "  evenkeel pull ~/downloads/smollm2.gguf      copy, check and name it smollm2\n"
    "  evenkeel pull ./bert-export --name bert     a folder, under another name\n"
    "  evenkeel pull digits.onnx --models /srv/models";

void Pull(const PullOptions& options) {
  const PulledModel model = PullModel(options);
  std::printf("sha256:%s  %s\n", model.digest.c_str(), model.name.c_str());
  std::fprintf(stderr, "Copied %s to %s\nA server that runs takes it up with: evenkeel load %s\n",
               HumanBytes(static_cast<double>(model.bytes)).c_str(), Printable(model.path).c_str(),
               model.name.c_str());
}

}  // namespace

void RegisterPull(CLI::App& app) {
  CLI::App* pull = app.add_subcommand("pull", "Copy a model file or folder into the models folder");
  pull->footer(kExamples);
  auto options = std::make_shared<PullOptions>();
  pull->add_option("PATH", options->path, "File or folder on this machine")->required();
  pull->add_option("--name", options->name, "What it will be called [the file's name]")
      ->type_name("");
  pull->add_option("--models", options->models, "Models folder, also EVENKEEL_MODELS")
      ->type_name("");
  pull->callback([options] { Pull(*options); });
}

}  // namespace evenkeel
