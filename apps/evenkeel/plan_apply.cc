#include "plan_apply.h"

#include <unistd.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <cstdio>
#include <iostream>
#include <map>
#include <nlohmann/json.hpp>
#include <set>
#include <utility>

#include "commands.h"
#include "core/format.h"
#include "deploy_watch.h"
#include "figures.h"
#include "output.h"

namespace evenkeel {
namespace {

using Json = nlohmann::ordered_json;

// "desk/CUDA" is a place of node desk.
std::string NodeOf(const std::string& place) { return place.substr(0, place.find('/')); }

void RefuseCuts(const Json& plan) {
  for (const Json& cut : plan.value("cuts", Json::array()))
    Fail(kExitFailed,
         "the plan cuts '" + TextAt(cut, "task") +
             "' over nodes by its layers: that cannot be carried out until stages run");
}

// By model: the nodes that serve it and answer.
std::map<std::string, std::set<std::string>> Serving(const Api& api) {
  std::map<std::string, std::set<std::string>> serving;
  const Json described = api.Get("/v2/evenkeel/models").value("cluster", Json::object());
  for (const Json& node : described.value("nodes", Json::array())) {
    if (TextAt(node, "state") != "alive") continue;
    for (const Json& model : node.value("models", Json::array())) {
      if (model.is_string()) serving[model.get<std::string>()].insert(TextAt(node, "name"));
    }
  }
  return serving;
}

std::vector<PlannedModel> ModelsOf(const ClusterFile& file, const Json& plan,
                                   const std::map<std::string, std::set<std::string>>& serving) {
  std::map<std::string, PlannedModel> models;
  for (const auto& [place, tasks] : plan["placement"].items()) {
    for (const Json& task : tasks) {
      const std::string name = task.get<std::string>();
      const auto now = serving.find(name);
      if (now == serving.end())
        Fail(kExitFailed,
             "the plan places '" + name + "', which no node serves: it has changed meanwhile");
      PlannedModel& model = models[name];
      model.name = name;
      model.serving = now->second;
      model.wanted.insert(NodeOf(place));
    }
  }
  for (const Task& task : file.graph.tasks) {
    if (const auto model = models.find(task.name); model != models.end())
      model->second.memory_bytes = task.memory_bytes;
  }
  std::vector<PlannedModel> list;
  for (auto& [_, model] : models) list.push_back(std::move(model));
  return list;
}

// The document counts what its models hold as free, since they may go.
std::vector<PlannedNode> RoomNow(const ClusterFile& file, const std::vector<PlannedModel>& models) {
  std::vector<PlannedNode> nodes;
  for (const NodeState& state : file.nodes) {
    int64_t free = state.free_memory_bytes;
    for (const PlannedModel& model : models) {
      if (model.serving.contains(state.name)) free -= model.memory_bytes;
    }
    nodes.push_back({state.name, std::max<int64_t>(free, 0)});
  }
  return nodes;
}

void PrintSteps(const std::vector<ApplyStep>& steps, const std::string& why) {
  std::printf("\nSteps to the plan (%s)\n", why.c_str());
  int number = 0;
  for (const ApplyStep& step : steps) {
    std::printf("%3d. %s %s %s %s%s\n", ++number, step.load ? "load" : "unload",
                Printable(step.model).c_str(), step.load ? "on" : "from",
                Printable(step.node).c_str(), step.for_now ? ", to make room for others" : "");
  }
  std::fflush(stdout);
}

bool Agreed(const ApplyOptions& options) {
  if (options.yes) return true;
  if (::isatty(STDIN_FILENO) != 1)
    Fail(kExitFailed, "nothing was done: there is no terminal to ask at; say --yes");
  std::fputs("Carry this out? [y/N] ", stderr);
  std::string answer;
  std::getline(std::cin, answer);
  return answer == "y" || answer == "Y" || answer == "yes";
}

// So that what an older plan orders, from whoever, is refused from now on. The plan's stamp, which its orders carry; null: the cluster has no store.
Json Store(const Api& api, const Json& plan, const std::string& why) {
  const Json stored = api.Post("/v2/cluster/plan", {{"schema", plan["schema"]},
                                                    {"rules", plan["rules"]},
                                                    {"placement", plan["placement"]},
                                                    {"makespan_s", plan["makespan_s"]},
                                                    {"why", why}});
  if (!stored.value("stored", false)) return {};
  std::fprintf(stderr, "The plan is stored: %s\n", Printable(TextAt(stored, "stamp")).c_str());
  return stored.value("plan", Json());
}

void CarryOut(const Api& api, const ApplyStep& step, const Json& stamp, const std::string& why,
              Duration wait) {
  Json request = {
      {"model", step.model}, {"nodes", Json::array({step.node})}, {"by_plan", true}, {"why", why}};
  if (!stamp.is_null()) request["plan"] = stamp;
  if (step.load) {
    const Json deployment = DeployAndWatch(api, request, wait);
    if (const std::string failures = FailuresOf(deployment); !failures.empty())
      Fail(kExitFailed, failures + "\nThe rest of the plan was not carried out");
    return;
  }
  request["keep_files"] = true;
  api.Post("/v2/cluster/undeploy", request);
}

}  // namespace

void ApplyPlan(const Api& api, const ClusterFile& file, const Json& plan,
               const ApplyOptions& options) {
  RefuseCuts(plan);
  const auto models = ModelsOf(file, plan, Serving(api));
  const auto steps = StepsToPlan(models, RoomNow(file, models));
  if (!steps.ok()) Fail(kExitFailed, steps.status().message());
  if (steps->empty()) {
    std::fputs("Nothing to do: every model is where the plan wants it\n", stderr);
    return;
  }
  const double planned = plan["makespan_s"].get<double>();
  const std::string why =
      fmt::format("the plan: {:.3g} s of work a second on the busiest node, {:.3g} s before",
                  planned, plan.value("present_s", planned));
  PrintSteps(*steps, why);
  if (!Agreed(options)) {
    std::fputs("Nothing was done\n", stderr);
    throw CLI::RuntimeError(kExitFailed);
  }
  const Json stamp = Store(api, plan, why);
  int number = 0;
  for (const ApplyStep& step : *steps) {
    CarryOut(api, step, stamp, why, options.wait);
    std::fprintf(stderr, "%d of %zu done: %s %s %s %s\n", ++number, steps->size(),
                 step.load ? "loaded" : "unloaded", Printable(step.model).c_str(),
                 step.load ? "on" : "from", Printable(step.node).c_str());
  }
}

}  // namespace evenkeel
