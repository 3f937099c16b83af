// `evenkeel deploy MODEL` and `evenkeel undeploy MODEL`: a model served by nodes of the cluster, or not any more.
#include <CLI/CLI.hpp>
#include <cstdio>
#include <filesystem>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "api.h"
#include "commands.h"
#include "core/format.h"
#include "core/parse.h"
#include "deploy_watch.h"
#include "figures.h"
#include "output.h"
#include "pull_model.h"
#include "repository/file_format.h"

namespace evenkeel {
namespace {

using Json = nlohmann::ordered_json;

constexpr const char* kDeployExamples =
    "  evenkeel deploy chat                        to all nodes that have the memory\n"
    "  evenkeel deploy chat --nodes attic,shelf    copied from a node that has it, loaded there\n"
    "  evenkeel deploy chat --replicas 2\n"
    "  evenkeel deploy ~/downloads/chat.gguf       from this machine's disk, pulled first";
constexpr const char* kUndeployExamples =
    "  evenkeel undeploy chat --nodes attic        unloaded and removed there\n"
    "  evenkeel undeploy chat --nodes attic --keep-files\n"
    "  evenkeel undeploy chat --nodes attic,desk --force   also where no other node has it";

struct DeployFlags {
  Api api;
  std::string model, name, models, wait = "5m";
  std::vector<std::string> nodes;
  int replicas = 0;
  bool dry_run = false;
  Format format = Format::kTable;
};

struct UndeployFlags {
  Api api;
  std::string model;
  std::vector<std::string> nodes;
  bool keep_files = false, force = false, dry_run = false;
};

// A path has a slash, or is a model file that is there; else it is the name of a model that a node holds.
bool IsPath(const std::string& model) {
  std::error_code error;
  return model.find('/') != std::string::npos ||
         (FormatOfFileName(model) && std::filesystem::exists(model, error));
}

void WouldDo(const std::string& verb, const Api& api, const Json& request) {
  std::printf("would %s %s: POST %s/v2/cluster/%s %s\n", verb.c_str(),
              request["model"].get<std::string>().c_str(), api.server().c_str(), verb.c_str(),
              request.dump().c_str());
}

void Deploy(const DeployFlags& flags) {
  const Result<Duration> wait = ParseDuration(flags.wait);
  if (!wait.ok()) Fail(kExitUsage, "--wait: " + wait.status().message());
  const bool path = IsPath(flags.model);
  if (!path && !flags.name.empty())
    Fail(kExitUsage,
         "--name: for models that are given by a path; '" + flags.model + "' is a name");
  Json request = {{"model", flags.model}};
  if (!flags.nodes.empty()) request["nodes"] = flags.nodes;
  if (flags.replicas > 0) request["replicas"] = flags.replicas;
  if (flags.dry_run) return WouldDo("deploy", flags.api, request);
  if (path) {
    flags.api.Get("/v2/cluster/deploys");  // before anything is copied: is there a cluster?
    const PulledModel pulled = PullModel({flags.model, flags.name, flags.models});
    std::fprintf(stderr, "Copied to %s: the server that is asked must be this machine's\n",
                 Printable(pulled.path).c_str());
    request["model"] = pulled.name;
  }
  const Json deployment = DeployAndWatch(flags.api, request, *wait);
  for (const Json& node : deployment.value("left_out", Json::array()))
    std::fprintf(stderr, "%s is left out: %s\n", Printable(TextAt(node, "node")).c_str(),
                 Printable(TextAt(node, "why")).c_str());
  Print(flags.format, NodesOf(deployment), deployment);
  if (const std::string failures = FailuresOf(deployment); !failures.empty())
    Fail(kExitFailed, failures);
}

void Undeploy(const UndeployFlags& flags) {
  Json request = {{"model", flags.model}, {"nodes", flags.nodes}};
  if (flags.keep_files) request["keep_files"] = true;
  if (flags.force) request["force"] = true;
  if (flags.dry_run) return WouldDo("undeploy", flags.api, request);
  flags.api.Post("/v2/cluster/undeploy", request);
  for (const std::string& node : flags.nodes)
    std::fprintf(stderr, "%s: %s is %s\n", Printable(node).c_str(), Printable(flags.model).c_str(),
                 flags.keep_files ? "unloaded" : "unloaded and removed");
}

}  // namespace

void RegisterDeploy(CLI::App& app) {
  CLI::App* verb = app.add_subcommand("deploy", "Have a model served by nodes of the cluster");
  verb->footer(kDeployExamples);
  auto flags = std::make_shared<DeployFlags>();
  verb->add_option("MODEL", flags->model, "Its name, or the path of a file or folder")->required();
  auto* nodes = verb->add_option("--nodes", flags->nodes, "Which nodes [all that have the memory]")
                    ->delimiter(',')
                    ->type_name("");
  verb->add_option("--replicas", flags->replicas, "How many nodes")
      ->check(CLI::Range(1, 1000))
      ->excludes(nodes)
      ->type_name("");
  verb->add_option("--wait", flags->wait, "How long to wait until all serve it [5m]")
      ->type_name("");
  verb->add_option("--name", flags->name, "With a path: what it will be called [the file's name]")
      ->type_name("");
  verb->add_option("--models", flags->models, "With a path: the server's models folder")
      ->type_name("");
  verb->add_flag("--dry-run", flags->dry_run, "Only say what would be done");
  flags->api.AddFlags(*verb);
  AddOutputFlag(*verb, &flags->format);
  verb->callback([flags] { Deploy(*flags); });
}

void RegisterUndeploy(CLI::App& app) {
  CLI::App* verb = app.add_subcommand("undeploy", "Take a model from nodes of the cluster");
  verb->footer(kUndeployExamples);
  auto flags = std::make_shared<UndeployFlags>();
  verb->add_option("MODEL", flags->model, "Its name")->required();
  verb->add_option("--nodes", flags->nodes, "From which nodes")
      ->delimiter(',')
      ->required()
      ->type_name("");
  verb->add_flag("--keep-files", flags->keep_files, "Unload it only");
  verb->add_flag("--force", flags->force, "Also from the last node that has it, or serves it");
  verb->add_flag("--dry-run", flags->dry_run, "Only say what would be done");
  flags->api.AddFlags(*verb);
  verb->callback([flags] { Undeploy(*flags); });
}

}  // namespace evenkeel
