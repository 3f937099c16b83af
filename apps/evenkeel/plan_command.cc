// `evenkeel plan`: which server of a described cluster, or of the one that runs, would run what, and why.
#include <CLI/CLI.hpp>
#include <cstdio>
#include <memory>
#include <nlohmann/json.hpp>

#include "api.h"
#include "commands.h"
#include "core/format.h"
#include "core/parse.h"
#include "loadgen/trace_file.h"
#include "output.h"
#include "plan_apply.h"
#include "plan_document.h"

namespace evenkeel {
namespace {

using Json = nlohmann::ordered_json;

constexpr const char* kExamples =
    "  evenkeel plan                               the cluster of the server that is asked\n"
    "  evenkeel plan --apply                       carry it out, after asking\n"
    "  evenkeel plan cluster.json                  costs, sets, moves and the allocation\n"
    "  evenkeel plan cluster.json --rules method   by the rules of CN119537032B\n"
    "  evenkeel plan cluster.json -o json          the same as one document";

constexpr size_t kMostFileBytes = size_t{64} << 20;

struct PlanFlags {
  Api api;
  std::string file, rules = "ours";
  Format format = Format::kTable;
  bool apply = false, yes = false;
  std::string wait = "5m";
};

void PrintSection(const char* title, const Listing& listing) {
  std::printf("%s\n%s\n", title, TableText(listing, false).c_str());
}

void PrintNodes(const Json& plan) {
  Listing listing;
  listing.columns = {{"NODE"},       {"CORES", true},       {"GFLOP/S", true},
                     {"GB/S", true}, {"FREE MEMORY", true}, {"LOAD", true}};
  for (const Json& node : plan["nodes"]) {
    listing.rows.push_back(
        {node["name"], node["cores"].dump(), node["gflops"].dump(), node["memory_gb_s"].dump(),
         fmt::format("{:.1f} GiB", node["free_memory_bytes"].get<double>() / (1 << 30)),
         fmt::format("{:.3g} s", node["load_s"].get<double>())});
  }
  PrintSection("Nodes", listing);
}

void PrintMatrix(const Json& plan) {
  Listing listing;
  listing.columns = {{"TASK"}};
  for (const auto& [place, load] : plan["loads_s"].items())
    listing.columns.push_back({place, true});
  for (const Json& row : plan["matrix"]) {
    std::vector<std::string> cells = {row["task"]};
    for (const Json& cell : row["costs"]) {
      cells.push_back(cell.contains("seconds")
                          ? fmt::format("{:.4g}{}", cell["seconds"].get<double>(),
                                        cell["measured"].get<bool>() ? "*" : "")
                          : "rejected");
    }
    listing.rows.push_back(std::move(cells));
  }
  PrintSection(plan["rules"] == "ours" ? "Costs, seconds (*: measured, else predicted)"
                                       : "Costs, shares of what is available",
               listing);
  for (const Json& row : plan["matrix"]) {
    for (const Json& cell : row["costs"]) {
      if (cell.contains("reason"))
        std::printf("  %s on node %s: rejected, %s\n", row["task"].get<std::string>().c_str(),
                    cell["node"].get<std::string>().c_str(),
                    cell["reason"].get<std::string>().c_str());
    }
  }
}

void PrintSteps(const Json& plan) {
  Listing listing;
  listing.columns = {{"STEP"}, {"MAKESPAN", true}, {"TOTAL", true}};
  for (const Json& step : plan["steps"]) {
    listing.rows.push_back({step["name"], fmt::format("{:.4g}", step["makespan_s"].get<double>()),
                            fmt::format("{:.4g}", step["total_s"].get<double>())});
  }
  PrintSection("\nSteps", listing);
  if (plan["moves"].empty()) return;
  Listing moves;
  moves.columns = {{"MOVE"},          {"FROM"},        {"TO"},
                   {"UTILITY", true}, {"AFTER", true}, {"POTENTIAL", true}};
  for (const Json& move : plan["moves"]) {
    moves.rows.push_back({move["task"], move["from"], move["to"],
                          fmt::format("{:.4g}", move["utility_before"].get<double>()),
                          fmt::format("{:.4g}", move["utility_after"].get<double>()),
                          fmt::format("{:.5g}", move["potential"].get<double>())});
  }
  PrintSection("Moves of the game", moves);
}

void PrintPlacement(const Json& plan) {
  Listing listing;
  listing.columns = {{"NODE"}, {"LOAD", true}, {"TASKS"}};
  for (const auto& [node, tasks] : plan["placement"].items()) {
    std::string names;
    for (const Json& task : tasks) names += (names.empty() ? "" : ", ") + task.get<std::string>();
    listing.rows.push_back(
        {node, fmt::format("{:.4g}", plan["loads_s"][node].get<double>()), names});
  }
  PrintSection("Allocation", listing);
}

void PrintReplicas(const Json& plan) {
  if (!plan.contains("replicas")) return;
  Listing listing;
  listing.columns = {{"MODEL"}, {"REPLICAS", true}, {"NOW", true}, {"WHY"}, {"SHARES"}};
  for (const Json& model : plan["replicas"]) {
    std::string shares;
    for (const Json& one : model["on"])
      shares += fmt::format("{}{} {:.0f} %", shares.empty() ? "" : ", ",
                            one["node"].get<std::string>(), 100 * one["share"].get<double>());
    listing.rows.push_back({model["task"], model["replicas"].dump(),
                            std::to_string(model["serving"].size()), model["why"], shares});
  }
  PrintSection("Replicas", listing);
}

Duration WaitOf(const std::string& text) {
  const Result<Duration> wait = ParseDuration(text);
  if (!wait.ok()) Fail(kExitUsage, "--wait: " + wait.status().message());
  return *wait;
}

void MakeAndPrint(const PlanFlags& flags) {
  const bool live = flags.file.empty();
  if (flags.apply && !live)
    Fail(kExitUsage, "--apply: for the cluster of a server that runs, not for " + flags.file);
  if (flags.apply && flags.format != Format::kTable)
    Fail(kExitUsage, "--apply: carries out the plan and prints its steps; leave --output away");
  const Duration wait = WaitOf(flags.wait);
  const auto text = live ? Result<std::string>(flags.api.GetBytes("/v2/evenkeel/cluster"))
                         : loadgen::ReadFileMaybeGzip(flags.file, kMostFileBytes);
  if (!text.ok()) Fail(kExitFailed, text.status().message());
  const auto file = ParseClusterFile(*text);
  if (!file.ok())
    Fail(live ? kExitFailed : kExitUsage,
         (live ? flags.api.server() : flags.file) + ": " + file.status().message());
  const auto plan = PlanDocument(*file, flags.rules == "method");
  if (!plan.ok()) Fail(kExitFailed, plan.status().message());
  if (flags.format != Format::kTable) return Print(flags.format, {}, *plan);
  PrintNodes(*plan);
  PrintMatrix(*plan);
  PrintSteps(*plan);
  PrintPlacement(*plan);
  PrintReplicas(*plan);
  if (flags.apply) ApplyPlan(flags.api, *file, *plan, {flags.yes, wait});
}

}  // namespace

void RegisterPlan(CLI::App& app) {
  CLI::App* verb = app.add_subcommand(
      "plan",
      "Which server of a cluster would run what, and why; nothing is changed without --apply");
  verb->footer(kExamples);
  auto flags = std::make_shared<PlanFlags>();
  verb->add_option("FILE", flags->file,
                   "The cluster and its work (docs/operations.md); without: that of the server")
      ->type_name("");
  flags->api.AddFlags(*verb);
  verb->add_option("--rules", flags->rules, "ours|method [ours]")
      ->check(CLI::IsMember({"ours", "method"}));
  auto* apply = verb->add_flag("--apply", flags->apply, "Carry the plan out: models are moved");
  verb->add_flag("--yes", flags->yes, "With --apply: do not ask")->needs(apply);
  verb->add_option("--wait", flags->wait, "With --apply: for a model on its new node [5m]")
      ->needs(apply)
      ->type_name("");
  AddOutputFlag(*verb, &flags->format, /*listing=*/false);
  verb->callback([flags] { MakeAndPrint(*flags); });
}

}  // namespace evenkeel
