// `evenkeel ps`: the worker processes of the models that are loaded.
#include <CLI/CLI.hpp>
#include <memory>
#include <nlohmann/json.hpp>

#include "api.h"
#include "commands.h"
#include "figures.h"
#include "output.h"

namespace evenkeel {
namespace {

using Json = nlohmann::ordered_json;

constexpr const char* kExamples =
    "  evenkeel ps                                 instances with process id, memory and restarts\n"
    "  evenkeel ps -o wide                         with shape, queue, p99, and why there are so "
    "many\n"
    "  evenkeel ps -o json | jq '.instances[].pid'";

struct PsOptions {
  Api api;
  Format format = Format::kTable;
};

void List(const PsOptions& options) {
  const Json described = options.api.Get("/v2/evenkeel/models");
  Listing listing;
  listing.columns = {{"MODEL"},
                     {"VERSION", true},
                     {"INSTANCE", true},
                     {"STATE"},
                     {"PID", true},
                     {"MEMORY", true},
                     {"THREADS", true},
                     {"RESTARTS", true},
                     {"SHAPE", false, true},
                     {"ENGINE", false, true},
                     {"QUEUED ROWS", true, true},
                     {"P99", true, true},
                     {"LAST END", false, true},
                     {"WANTED", true, true},
                     {"WHY", false, true}};
  Json instances = Json::array();
  bool at_rest = false;
  for (const Json& model : described.value("models", Json::array())) {
    const Json scale = model.value("scale", Json::object());
    if (model.value("at_rest", false) && model.value("instances", Json::array()).empty()) {
      at_rest = true;
      listing.rows.push_back(
          {TextAt(model, "name"), TextAt(model, "version"), "-", "idle (0 instances)", "-", "-",
           "-", "-", "-", TextAt(model, "engine"), TextAt(model, "queue_rows"),
           MillisecondsAt(model, "p99_ms"), "", TextAt(scale, "wanted"), TextAt(scale, "why")});
    }
    int64_t number = 0;
    for (const Json& instance : model.value("instances", Json::array())) {
      const std::string name = TextAt(model, "name");
      const std::string index = std::to_string(number++);
      listing.rows.push_back(
          {name, TextAt(model, "version"), index, TextAt(instance, "state"),
           TextAt(instance, "pid"), BytesAt(instance, "rss_bytes"), TextAt(instance, "threads"),
           TextAt(instance, "restarts"), TextAt(instance, "shape"), TextAt(model, "engine"),
           TextAt(model, "queue_rows"), MillisecondsAt(model, "p99_ms"),
           TextAt(instance, "last_end"), TextAt(scale, "wanted"), TextAt(scale, "why")});
      listing.names.push_back(name + "/" + TextAt(model, "version") + "#" + index);
      Json entry = {
          {"model", name}, {"version", TextAt(model, "version")}, {"instance", number - 1}};
      entry.update(instance);
      instances.push_back(std::move(entry));
    }
  }
  const bool none = instances.empty() && !at_rest;
  Print(options.format, listing,
        {{"schema", "evenkeel.instances/v1"}, {"instances", std::move(instances)}});
  if (none) std::fprintf(stderr, "No model is loaded. See: evenkeel ls\n");
}

}  // namespace

void RegisterPs(CLI::App& app) {
  CLI::App* ps = app.add_subcommand("ps", "List the running instances of models");
  ps->footer(kExamples);
  auto options = std::make_shared<PsOptions>();
  options->api.AddFlags(*ps);
  AddOutputFlag(*ps, &options->format);
  ps->callback([options] { List(*options); });
}

}  // namespace evenkeel
