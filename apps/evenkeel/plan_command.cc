// `evenkeel plan`: which server of a described cluster, or of the one that runs, would run what, and why.
#include <CLI/CLI.hpp>
#include <cmath>
#include <cstdio>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "api.h"
#include "commands.h"
#include "core/format.h"
#include "core/parse.h"
#include "figures.h"
#include "loadgen/trace_file.h"
#include "output.h"
#include "plan_additions.h"
#include "plan_apply.h"
#include "plan_document.h"
#include "plan_measure.h"

namespace evenkeel {
namespace {

using Json = nlohmann::ordered_json;

constexpr const char* kExamples =
    "  evenkeel plan                               the cluster of the server that is asked\n"
    "  evenkeel plan --apply                       carry it out, after asking\n"
    "  evenkeel plan --measure 3                   try out first what it stands on and nobody "
    "measured\n"
    "  evenkeel plan cluster.json                  costs, sets, moves and the allocation\n"
    "  evenkeel plan --add llama-70b.gguf          whether and how it would fit beside what is "
    "there\n"
    "  evenkeel plan cluster.json --rules method   by the rules of CN119537032B\n"
    "  evenkeel plan cluster.json -o json          the same as one document";

constexpr Duration kWait = std::chrono::minutes(5);
constexpr size_t kMostFileBytes = size_t{64} << 20;

struct PlanFlags {
  Api api;
  std::string file, rules = "ours";
  std::vector<std::string> add;
  Format format = Format::kTable;
  bool apply = false, yes = false;
  int measure = 0;   // pairs
  std::string wait;  // "": kWait
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
        {node["name"], fmt::format("{:.3g}", node["cores"].get<double>()),
         fmt::format("{:.4g}", node["gflops"].get<double>()),
         fmt::format("{:.4g}", node["memory_gb_s"].get<double>()),
         fmt::format("{:.1f} GiB", node["free_memory_bytes"].get<double>() / (1 << 30)),
         fmt::format("{:.3g} s", node["load_s"].get<double>())});
  }
  PrintSection("Nodes", listing);
}

void PrintMatrix(const Json& plan) {
  if (plan["matrix"].empty()) return;
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
  PrintSection(plan["rules"] == "ours"
                   ? "Costs, seconds (*: measured, else predicted, with a margin)"
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
  if (plan["steps"].empty()) return;
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

void PrintCuts(const Json& plan) {
  for (const Json& cut : plan.value("cuts", Json::array())) {
    Listing listing;
    listing.columns = {{"STAGE"}, {"NODE"}, {"MEMORY", true}, {"A STEP", true}};
    for (const Json& stage : cut["stages"]) {
      listing.rows.push_back({stage["name"], stage["node"],
                              HumanBytes(stage["memory_bytes"].get<double>()),
                              HumanMilliseconds(stage["seconds"].get<double>() * 1e3)});
    }
    std::printf("Cut between its layers: %s\n  %s\n", cut["task"].get<std::string>().c_str(),
                cut["why"].get<std::string>().c_str());
    std::printf("%s", TableText(listing, false).c_str());
    std::printf(
        "  one step alone takes %s, %s of it a hop; with %zu batches in flight one is done "
        "every %s\n  it is planned only: it can't be deployed until stages run\n\n",
        HumanMilliseconds(cut["latency_s"].get<double>() * 1e3).c_str(),
        HumanMilliseconds(cut["hop_s"].get<double>() * 1e3).c_str(), cut["stages"].size(),
        HumanMilliseconds(cut["period_s"].get<double>() * 1e3).c_str());
  }
}

void PrintWorthMeasuring(const Json& plan) {
  if (!plan.contains("factors")) return;
  for (const Json& pair : plan["factors"]["worth_measuring"])
    std::printf("Worth measuring: %s on %s, predicted to take %.3g s, within a factor of %.2g\n",
                pair["task"].get<std::string>().c_str(), pair["node"].get<std::string>().c_str(),
                pair["seconds"].get<double>(), std::exp(pair["deviation"].get<double>()));
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
  if (text.empty()) return kWait;
  const Result<Duration> wait = ParseDuration(text);
  if (!wait.ok()) Fail(kExitUsage, "--wait: " + wait.status().message());
  return *wait;
}

// The cluster's text with the tasks of those files behind its own.
std::string WithAdditions(const std::string& text, const std::vector<std::string>& files) {
  if (files.empty()) return text;
  nlohmann::json cluster = nlohmann::json::parse(text, nullptr, /*allow_exceptions=*/false);
  // What is wrong with it is said when it is read as a whole.
  if (!cluster.is_object() || !cluster.contains("tasks") || !cluster["tasks"].is_array())
    return text;
  for (const std::string& path : files) {
    const auto tasks = AddedTasks(path);
    if (!tasks.ok())
      Fail(tasks.status().code() == Code::kNotFound ? kExitFailed : kExitUsage,
           path + ": " + tasks.status().message());
    for (const nlohmann::json& task : *tasks) cluster["tasks"].push_back(task);
  }
  return cluster.dump();
}

void MakeAndPrint(const PlanFlags& flags) {
  const bool live = flags.file.empty();
  if (flags.apply && !live)
    Fail(kExitUsage, "--apply: for the cluster of a server that runs, not for " + flags.file);
  if (flags.apply && flags.format != Format::kTable)
    Fail(kExitUsage, "--apply: carries out the plan and prints its steps; leave --output away");
  if (flags.measure > 0 && !live)
    Fail(kExitUsage, "--measure: for the cluster of a server that runs, not for " + flags.file);
  if (flags.measure > 0 && flags.format != Format::kTable)
    Fail(kExitUsage, "--measure: models are tried out and a table printed; leave --output away");
  if (!flags.wait.empty() && !flags.apply && flags.measure == 0)
    Fail(kExitUsage, "--wait: with --apply or --measure");
  const Duration wait = WaitOf(flags.wait);
  if (flags.measure > 0) MeasurePairs(flags.api, flags.measure, wait);
  const auto text = live ? Result<std::string>(flags.api.GetBytes("/v2/evenkeel/cluster"))
                         : loadgen::ReadFileMaybeGzip(flags.file, kMostFileBytes);
  if (!text.ok()) Fail(kExitFailed, text.status().message());
  const auto file = ParseClusterFile(WithAdditions(*text, flags.add));
  if (!file.ok())
    Fail(live ? kExitFailed : kExitUsage,
         (live ? flags.api.server() : flags.file) + ": " + file.status().message());
  const auto plan = PlanDocument(*file, flags.rules == "method");
  if (!plan.ok()) Fail(kExitFailed, plan.status().message());
  if (flags.format != Format::kTable) return Print(flags.format, {}, *plan);
  PrintNodes(*plan);
  PrintCuts(*plan);
  PrintMatrix(*plan);
  PrintSteps(*plan);
  PrintPlacement(*plan);
  PrintWorthMeasuring(*plan);
  PrintReplicas(*plan);
  if (flags.apply) ApplyPlan(flags.api, *file, *plan, {flags.yes, wait});
}

}  // namespace

void RegisterPlan(CLI::App& app) {
  CLI::App* verb = app.add_subcommand(
      "plan",
      "Which server of a cluster would run what, and why; nothing is changed without --apply or "
      "--measure");
  verb->footer(kExamples);
  auto flags = std::make_shared<PlanFlags>();
  verb->add_option("FILE", flags->file,
                   "The cluster and its work (docs/operations.md); without: that of the server")
      ->type_name("");
  verb->add_option("--add", flags->add,
                   "Plan this beside it: a GGUF file, or {\"tasks\": [...]}; repeatable")
      ->allow_extra_args(false)
      ->type_name("FILE");
  flags->api.AddFlags(*verb);
  verb->add_option("--rules", flags->rules, "ours|method [ours]")
      ->check(CLI::IsMember({"ours", "method"}));
  auto* apply = verb->add_flag("--apply", flags->apply, "Carry the plan out: models are moved");
  verb->add_flag("--yes", flags->yes, "With --apply: do not ask")->needs(apply);
  verb->add_option("--measure", flags->measure,
                   "First try out so many pairs of a model and a node that nobody has measured")
      ->check(CLI::Range(1, 1000))
      ->type_name("N");
  verb->add_option("--wait", flags->wait,
                   "With --apply or --measure: for a model on its new node [5m]")
      ->type_name("");
  AddOutputFlag(*verb, &flags->format, /*listing=*/false);
  verb->callback([flags] { MakeAndPrint(*flags); });
}

}  // namespace evenkeel
