// `evenkeel samples ls|export|rm`: the inputs that the server keeps of live requests.
#include <fcntl.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <memory>
#include <nlohmann/json.hpp>

#include "api.h"
#include "commands.h"
#include "core/replace_file.h"
#include "core/status.h"
#include "figures.h"
#include "output.h"

namespace evenkeel {
namespace {

using Json = nlohmann::ordered_json;

constexpr const char* kExamples =
    "  evenkeel samples ls                         how many rows are kept of which model\n"
    "  evenkeel samples export digits -o digits.safetensors\n"
    "  python3 -c \"from safetensors.numpy import load_file; "
    "print(load_file('digits.safetensors'))\"\n"
    "  evenkeel samples rm digits                  forget them, in memory and on disk";
constexpr const char* kTarget = "/v2/evenkeel/samples";

struct SamplesOptions {
  Api api;
  Format format = Format::kTable;
  std::string model;
  std::string file;
  bool all = false;
  bool dry_run = false;
};

void List(const SamplesOptions& options) {
  const Json answer = options.api.Get(kTarget);
  const Json samples = answer.is_object() ? answer.value("samples", Json::array()) : answer;
  Listing listing;
  listing.columns = {
      {"MODEL"}, {"SEEN", true}, {"KEPT", true}, {"SIZE", true}, {"SIGNATURE", false}};
  for (const Json& sample : samples) {
    listing.rows.push_back({TextAt(sample, "model"), TextAt(sample, "seen"), TextAt(sample, "kept"),
                            BytesAt(sample, "bytes"), TextAt(sample, "signature")});
    listing.names.push_back(TextAt(sample, "model"));
  }
  Print(options.format, listing, {{"schema", "evenkeel.samples/v1"}, {"samples", samples}});
  if (samples.empty()) std::fprintf(stderr, "No request has been sampled yet.\n");
}

void Export(const SamplesOptions& options) {
  const bool to_stdout = options.file.empty() || options.file == "-";
  if (to_stdout && ::isatty(STDOUT_FILENO) == 1) {
    Fail(kExitUsage,
         "samples are binary; name a file: evenkeel samples export " + options.model + " -o FILE");
  }
  const std::string bytes =
      options.api.GetBytes(std::string(kTarget) + "/" + PathPart(options.model));
  if (to_stdout) {
    if (std::fwrite(bytes.data(), 1, bytes.size(), stdout) != bytes.size()) {
      Fail(kExitFailed, std::string("standard output: ") + std::strerror(errno));
    }
    return;
  }
  const Status status = ReplaceFile(options.file, bytes);  // never half a file, whatever happens
  if (!status.ok()) Fail(kExitFailed, status.message());
  std::fprintf(stderr, "Wrote %s (%s)\n", options.file.c_str(),
               HumanBytes(static_cast<double>(bytes.size())).c_str());
}

void Remove(const SamplesOptions& options) {
  if (options.all == !options.model.empty()) Fail(kExitUsage, "name a model, or give --all");
  const std::string target =
      options.all ? kTarget : std::string(kTarget) + "/" + PathPart(options.model);
  if (options.dry_run) {
    std::printf("would remove the samples of %s\n",
                options.all ? "all models" : options.model.c_str());
    return;
  }
  options.api.Delete(target);
  std::fprintf(stderr, "Removed the samples of %s\n",
               options.all ? "all models" : options.model.c_str());
}

}  // namespace

void RegisterSamples(CLI::App& app) {
  CLI::App* samples =
      app.add_subcommand("samples", "List, export or remove the sampled inputs of live requests");
  samples->footer(kExamples);
  samples->require_subcommand(1);
  auto options = std::make_shared<SamplesOptions>();
  const auto add = [&](const char* name, const char* help, void (*run)(const SamplesOptions&)) {
    CLI::App* verb = samples->add_subcommand(name, help);
    verb->footer(kExamples);
    options->api.AddFlags(*verb);
    verb->callback([options, run] { run(*options); });
    return verb;
  };
  CLI::App* ls = add("ls", "List what is kept", List);
  ls->alias("list");
  AddOutputFlag(*ls, &options->format);
  CLI::App* get = add("export", "Write a model's samples as a safetensors file", Export);
  get->add_option("MODEL", options->model, "Name of the model")->required();
  get->add_option("-o,--output", options->file, "File to write; - or none: standard output")
      ->type_name("FILE");
  CLI::App* rm = add("rm", "Forget samples, in memory and on disk", Remove);
  rm->add_option("MODEL", options->model, "Name of the model");
  rm->add_flag("--all", options->all, "Of every model");
  rm->add_flag("--dry-run", options->dry_run, "Only say what would be done");
}

}  // namespace evenkeel
