// `evenkeel node ls|drain|cordon|uncordon|rm`: the nodes of the cluster, as the server that is asked sees them, and what they are to do.
#include <CLI/CLI.hpp>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>

#include "api.h"
#include "commands.h"
#include "core/format.h"
#include "figures.h"
#include "output.h"

namespace evenkeel {
namespace {

using Json = nlohmann::ordered_json;

constexpr const char* kExamples =
    "  evenkeel node ls                            nodes, their state, what waits on them\n"
    "  evenkeel node ls -o wide                    with round trip, age of figures and models\n"
    "  evenkeel node ls --server http://10.0.0.3:8000";

struct NodeOptions {
  Api api;
  Format format = Format::kTable;
};

std::string Number(const Json& node, const char* key, double scale, const char* unit) {
  const auto at = node.find(key);
  return at != node.end() && at->is_number()
             ? fmt::format("{:.3g}{}", at->get<double>() * scale, unit)
             : std::string();
}

void List(const NodeOptions& options) {
  const Json described = options.api.Get("/v2/evenkeel/models");
  if (!described.contains("cluster"))
    Fail(kExitFailed,
         "the server " + options.api.server() +
             " is alone: a node of a cluster is started with --cluster-name and --cluster-peers");
  Listing listing;
  listing.columns = {{"NODE"},
                     {"STATE"},
                     {"CORES", true},
                     {"WAITING", true},
                     {"UNDER WAY", true},
                     {"CALLS SENT", true},
                     {"MODELS"},
                     {"ROUND TRIP", true, true},
                     {"FIGURES' AGE", true, true}};
  const Json nodes = described["cluster"].value("nodes", Json::array());
  for (const Json& node : nodes) {
    std::string models;
    for (const char* kind : {"models", "graphs"}) {
      for (const Json& model : node.value(kind, Json::array()))
        models +=
            (models.empty() ? "" : " ") + (model.is_string() ? model.get<std::string>() : "?");
    }
    listing.rows.push_back({TextAt(node, "name"), TextAt(node, "state"), TextAt(node, "cores"),
                            Number(node, "backlog_s", 1e3, " ms"), TextAt(node, "outstanding"),
                            TextAt(node, "sent"), models, Number(node, "round_trip_ms", 1, " ms"),
                            Number(node, "figures_age_s", 1, " s")});
    listing.names.push_back(TextAt(node, "name"));
  }
  Print(options.format, listing, {{"schema", "evenkeel.nodes/v1"}, {"nodes", nodes}});
}

struct StateOptions {
  Api api;
  std::string node;
};

void AddState(CLI::App& parent, const std::string& state, const std::string& help) {
  CLI::App* verb = parent.add_subcommand(state, help);
  verb->footer("  evenkeel node " + state + " attic");
  auto options = std::make_shared<StateOptions>();
  verb->add_option("NODE", options->node, "Its name")->required()->type_name("");
  options->api.AddFlags(*verb);
  verb->callback([options, state] {
    options->api.Post("/v2/evenkeel/cluster/nodes/" + PathPart(options->node) + "/" + state,
                      Json::object());
  });
}

}  // namespace

void RegisterNode(CLI::App& app) {
  CLI::App* node = app.add_subcommand("node", "The nodes of the cluster");
  node->require_subcommand(1);
  CLI::App* ls = node->add_subcommand("ls", "List the nodes as the server sees them");
  ls->footer(kExamples);
  auto options = std::make_shared<NodeOptions>();
  options->api.AddFlags(*ls);
  AddOutputFlag(*ls, &options->format);
  ls->callback([options] { List(*options); });
  AddState(*node, "drain", "Give a node no new work, and have others go on with what it has");
  AddState(*node, "cordon", "Give a node no new work");
  AddState(*node, "uncordon", "Give a node work again");
  AddState(*node, "rm", "Take a node off the cluster that is dead or drained");
}

}  // namespace evenkeel
