// The verbs of the command line: each Register<Verb>() adds one subcommand to the program.
//
// Contract: a verb's callback ends with `throw CLI::RuntimeError(code)` when it fails, after it has
//   written its message to stderr; a callback that returns means exit code 0. Data goes to stdout,
//   messages to stderr. No callback runs before the whole command line was parsed. A subcommand's
//   footer() holds its examples: help prints them first.
// Thread-safety: main thread only.
#pragma once

namespace CLI {
class App;
}

namespace evenkeel {

// Exit codes of the program.
inline constexpr int kExitFailed = 1;    // the operation failed
inline constexpr int kExitUsage = 2;     // the command line or a settings file is wrong
inline constexpr int kExitNoServer = 3;  // no server answers at the address

void RegisterServe(CLI::App& app);
void RegisterLs(CLI::App& app);
void RegisterPs(CLI::App& app);
void RegisterNode(CLI::App& app);
void RegisterCluster(CLI::App& app);
void RegisterShow(CLI::App& app);
void RegisterTop(CLI::App& app);
void RegisterRun(CLI::App& app);
void RegisterPull(CLI::App& app);
void RegisterLoad(CLI::App& app);
void RegisterUnload(CLI::App& app);
void RegisterDeploy(CLI::App& app);
void RegisterUndeploy(CLI::App& app);
void RegisterPlan(CLI::App& app);
void RegisterKey(CLI::App& app);
void RegisterConfig(CLI::App& app);
void RegisterDoctor(CLI::App& app);
void RegisterBench(CLI::App& app);
void RegisterSamples(CLI::App& app);
void RegisterProfile(CLI::App& app);
void RegisterSimulate(CLI::App& app);
void RegisterVersion(CLI::App& app);
void RegisterCompletion(CLI::App& app);

}  // namespace evenkeel
