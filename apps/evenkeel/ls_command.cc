// `evenkeel ls`: every model that the server knows, served or not, and why not.
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
    "  evenkeel ls                                 models and their state\n"
    "  evenkeel ls -o wide                         with engine, precision and why one is not "
    "ready\n"
    "  evenkeel ls -o name | xargs -n1 evenkeel unload";

struct LsOptions {
  Api api;
  Format format = Format::kTable;
  bool ready = false;
};

void List(const LsOptions& options) {
  const Json index = options.api.Post("/v2/repository/index", {{"ready", options.ready}});
  const Json described = options.api.Get("/v2/evenkeel/models");
  Listing listing;
  listing.columns = {{"NAME"},
                     {"VERSION", true},
                     {"STATE"},
                     {"ENGINE"},
                     {"MAX BATCH", true},
                     {"REQUESTS", true},
                     {"ERRORS", true},
                     {"DEVICE", false, true},
                     {"PRECISION", false, true},
                     {"POLICY", false, true},
                     {"REASON", false, true}};
  Json models = Json::array();
  bool hidden_reason = false;
  for (const Json& entry : index.is_array() ? index : Json::array()) {
    const std::string name = TextAt(entry, "name");
    const std::string version = TextAt(entry, "version");
    const Json facts = ModelNamed(described, name, version);
    const std::string reason = TextAt(entry, "reason");
    hidden_reason = hidden_reason || (!reason.empty() && options.format == Format::kTable);
    const bool at_rest = facts.value("at_rest", false);
    const std::string state = at_rest ? "idle (0 instances)" : TextAt(entry, "state");
    listing.rows.push_back({name, version, state, TextAt(facts, "engine"),
                            TextAt(facts, "max_batch"), TextAt(facts, "requests"),
                            TextAt(facts, "errors"), TextAt(facts, "device"),
                            TextAt(facts, "precision"), TextAt(facts, "policy"), reason});
    listing.names.push_back(name);
    Json model = entry;
    for (const char* key : {"engine", "device", "precision", "max_batch", "policy", "requests",
                            "errors", "at_rest"}) {
      if (facts.contains(key)) model[key] = facts[key];
    }
    models.push_back(std::move(model));
  }
  Print(options.format, listing, {{"schema", "evenkeel.models/v1"}, {"models", models}});
  if (models.empty())
    std::fprintf(stderr,
                 "No models. Put one into the server's models folder, then: evenkeel load NAME\n");
  if (hidden_reason) std::fprintf(stderr, "Why a model is not ready: evenkeel ls -o wide\n");
}

}  // namespace

void RegisterLs(CLI::App& app) {
  CLI::App* ls = app.add_subcommand("ls", "List models and their state")->alias("list");
  ls->footer(kExamples);
  auto options = std::make_shared<LsOptions>();
  options->api.AddFlags(*ls);
  AddOutputFlag(*ls, &options->format);
  ls->add_flag("--ready", options->ready, "Only models that are ready");
  ls->callback([options] { List(*options); });
}

}  // namespace evenkeel
