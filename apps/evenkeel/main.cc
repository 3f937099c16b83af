// The program: finds the verb, runs it, turns what went wrong into a message and an exit code.
#include <CLI/CLI.hpp>
#include <csignal>
#include <cstdio>
#include <exception>

#include "command_line.h"
#include "commands.h"
#include "output.h"

namespace evenkeel {
namespace {

constexpr const char* kExamples =
    "  evenkeel serve ./models                     serve every model in a folder\n"
    "  evenkeel ls                                 what is being served\n"
    "  evenkeel run smollm2                        chat with a language model\n"
    "  evenkeel bench digits --concurrency 8       how fast it answers\n"
    "  evenkeel doctor                             is this machine ready";

void RegisterAll(CLI::App& app) {
  RegisterServe(app);
  RegisterRun(app);
  RegisterPull(app);
  RegisterLs(app);
  RegisterPs(app);
  RegisterNode(app);
  RegisterCluster(app);
  RegisterShow(app);
  RegisterTop(app);
  RegisterLoad(app);
  RegisterUnload(app);
  RegisterDeploy(app);
  RegisterUndeploy(app);
  RegisterBench(app);
  RegisterSamples(app);
  RegisterProfile(app);
  RegisterSimulate(app);
  RegisterPlan(app);
  RegisterKey(app);
  RegisterConfig(app);
  RegisterDoctor(app);
  RegisterVersion(app);
  RegisterCompletion(app);
}

int Run(int argc, char** argv) {
  CLI::App app("Evenkeel serves trained models over HTTP and gRPC, batching requests as they come.",
               "evenkeel");
  PrepareApp(app);
  app.footer(kExamples);
  app.set_version_flag("--version", std::string("evenkeel ") + EVENKEEL_VERSION);
  app.add_flag_callback("--no-color", ForbidColour, "Print without colour, also on a terminal");
  app.require_subcommand(1);
  app.fallthrough();  // --no-color may stand anywhere
  RegisterAll(app);
  try {
    app.parse(argc, argv);
  } catch (const CLI::RuntimeError& failed) {
    return failed.get_exit_code();       // the verb has said why
  } catch (const CLI::Success& asked) {  // --help, --version
    return app.exit(asked);
  } catch (const CLI::ParseError& error) {
    if (argc <= 1) {
      std::fputs(app.help().c_str(), stderr);
    } else {
      std::fprintf(stderr, "evenkeel: %s\n", ExplainParseError(app, error, argc, argv).c_str());
    }
    return kExitUsage;
  }
  // What was printed must have arrived: a full disk behind a redirection is a failure.
  if (std::fflush(stdout) != 0) {
    std::perror("evenkeel: standard output");
    return kExitFailed;
  }
  return 0;
}

}  // namespace
}  // namespace evenkeel

int main(int argc, char** argv) {
  try {
    return evenkeel::Run(argc, argv);
  } catch (const std::exception& error) {
    std::fprintf(stderr, "evenkeel: %s\n", error.what());
    return evenkeel::kExitFailed;
  }
}
