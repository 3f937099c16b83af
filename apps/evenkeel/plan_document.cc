#include "plan_document.h"

#include <algorithm>
#include <map>
#include <nlohmann/json.hpp>
#include <set>
#include <utility>

#include "cluster/policy/cost_matrix.h"
#include "cluster/policy/factorisation.h"
#include "cluster/policy/measurement_design.h"
#include "cluster/policy/plan.h"
#include "cluster/policy/replicas.h"
#include "core/format.h"
#include "plan_cuts.h"

namespace evenkeel {
namespace {

using Json = nlohmann::ordered_json;

struct Costs {
  CostMatrix roofline;
  Completion completion;
  std::set<std::pair<int, int>> measured;
  std::map<std::pair<int, int>, double> factors;  // of predictions, where one is known
};

// Names of the places, as columns of the matrix.
std::vector<std::string> ColumnsOf(const ClusterFile& file) {
  std::vector<std::string> names;
  for (const Place& place : PlacesOf(file.nodes)) names.push_back(NameOf(place, file.nodes));
  return names;
}

Costs CostsOf(const ClusterFile& file) {
  Costs costs;
  costs.roofline = Roofline(file.graph.tasks, file.nodes);
  std::vector<MeasuredPair> pairs;
  const auto columns = ColumnsOf(file);
  for (const CostFactor& one : file.corrections) {
    const auto place = static_cast<int>(std::ranges::find(columns, one.place) - columns.begin());
    costs.roofline.seconds(one.task, place) *= one.factor;
    costs.factors[{one.task, place}] = one.factor;
  }
  for (const MeasuredCost& one : file.measured) {
    const auto place = static_cast<int>(std::ranges::find(columns, one.place) - columns.begin());
    pairs.push_back({one.task, place, one.seconds});
    costs.measured.emplace(one.task, place);
  }
  costs.completion = Complete(costs.roofline.seconds, pairs);
  return costs;
}

Status EachHasAPlace(const ClusterFile& file, const CostMatrix& costs) {
  const auto columns = ColumnsOf(file);
  for (size_t task = 0; task < file.graph.tasks.size(); ++task) {
    if (costs.seconds.row(static_cast<Eigen::Index>(task)).minCoeff() < kImpossible) continue;
    std::string why;
    for (size_t place = 0; place < columns.size(); ++place)
      why += fmt::format("{}node {}: rejected, {}", why.empty() ? "" : "; ", columns[place],
                         costs.reasons[task][place]);
    return Unavailable("task '{}' fits no node ({})", file.graph.tasks[task].name, why);
  }
  return Status::Ok();
}

PlacementProblem ProblemOf(const ClusterFile& file, const Eigen::MatrixXd& seconds) {
  PlacementProblem problem;
  problem.seconds = seconds;
  std::map<std::string, int> index;
  for (const Task& task : file.graph.tasks) {
    index.emplace(task.name, static_cast<int>(index.size()));
    problem.memory.push_back(task.memory_bytes);
  }
  const std::vector<Place> places = PlacesOf(file.nodes);
  for (const Place& place : places) {
    problem.host.push_back(place.node);
    problem.room.push_back(RoomOf(place, file.nodes));
    problem.present_s.push_back(
        place.accelerator < 0 ? file.nodes[static_cast<size_t>(place.node)].load_s : 0);
  }
  for (const TaskDependency& one : file.graph.dependencies)
    problem.edges.push_back({index.at(one.before), index.at(one.after), one.bytes});
  // Within a node nothing is sent.
  const auto count = static_cast<Eigen::Index>(places.size());
  problem.bytes_per_s.resize(count, count);
  problem.latency_s.resize(count, count);
  for (Eigen::Index a = 0; a < count; ++a) {
    for (Eigen::Index b = 0; b < count; ++b) {
      const bool same = places[static_cast<size_t>(a)].node == places[static_cast<size_t>(b)].node;
      problem.bytes_per_s(a, b) = same ? kImpossible : file.link.bytes_per_s;
      problem.latency_s(a, b) = same ? 0 : file.link.round_trip_s / 2;
    }
  }
  return problem;
}

Json NodesJson(const ClusterFile& file) {
  Json nodes = Json::array();
  for (const NodeState& node : file.nodes) {
    Json accelerators = Json::array();
    for (const AcceleratorResources& one : node.total.accelerators)
      accelerators.push_back({{"backend", one.backend},
                              {"gflops", one.gflops},
                              {"memory_gb_s", one.memory_gb_s},
                              {"memory_bytes", one.memory_bytes}});
    nodes.push_back({{"name", node.name},
                     {"cores", node.total.cores},
                     {"gflops", node.total.gflops},
                     {"memory_gb_s", node.total.memory_gb_s},
                     {"memory_bytes", node.total.memory_bytes},
                     {"free_memory_bytes", node.free_memory_bytes},
                     {"free_compute", node.free_compute},
                     {"load_s", node.load_s},
                     {"accelerators", std::move(accelerators)}});
  }
  return nodes;
}

Json MatrixJson(const ClusterFile& file, const Costs& costs, const Eigen::MatrixXd& seconds) {
  const auto columns = ColumnsOf(file);
  Json matrix = Json::array();
  for (size_t task = 0; task < file.graph.tasks.size(); ++task) {
    Json row = Json::array();
    for (size_t place = 0; place < columns.size(); ++place) {
      const auto j = static_cast<int>(task), i = static_cast<int>(place);
      Json cell = {{"node", columns[place]}};
      if (seconds(j, i) < kImpossible) {
        cell["seconds"] = seconds(j, i);
        cell["measured"] = costs.measured.contains({j, i});
        if (const auto at = costs.factors.find({j, i}); at != costs.factors.end())
          cell["factor"] = at->second;
      } else {
        cell["reason"] = costs.roofline.reasons[task][place];
      }
      row.push_back(std::move(cell));
    }
    matrix.push_back({{"task", file.graph.tasks[task].name}, {"costs", std::move(row)}});
  }
  return matrix;
}

Json SetsJson(const ClusterFile& file, const Holders& places) {
  const auto columns = ColumnsOf(file);
  Json sets = Json::object();
  for (const std::string& name : columns) sets[name] = Json::array();
  for (size_t task = 0; task < places.size(); ++task) {
    for (const int place : places[task])
      sets[columns[static_cast<size_t>(place)]].push_back(file.graph.tasks[task].name);
  }
  return sets;
}

Json MovesJson(const ClusterFile& file, const GameResult& game, const std::vector<int>& task_of) {
  const auto columns = ColumnsOf(file);
  Json moves = Json::array();
  for (const GameMove& move : game.moves) {
    const auto task = static_cast<size_t>(task_of[static_cast<size_t>(move.task)]);
    moves.push_back({{"task", file.graph.tasks[task].name},
                     {"from", columns[static_cast<size_t>(move.from)]},
                     {"to", columns[static_cast<size_t>(move.to)]},
                     {"utility_before", move.utility_before},
                     {"utility_after", move.utility_after},
                     {"potential", move.potential}});
  }
  return moves;
}

bool HasReplicas(const ClusterFile& file) {
  return std::ranges::any_of(file.graph.tasks, [](const Task& task) { return task.replicas > 0; });
}

// Tasks of one piece, which may depend on each other: a place each.
Result<ReplicaPlan> PlanOfPieces(const PlacementProblem& problem, bool method) {
  auto plan = method ? MakePlanByMethod(problem) : MakePlan(problem);
  if (!plan.ok()) return plan.status();
  const auto alone = [](const Placement& placement) {
    Holders places;
    for (const int place : placement) places.push_back({place});
    return places;
  };
  ReplicaPlan pieces;
  pieces.places = alone(plan->placement);
  pieces.shares = InEqualParts(problem, pieces.places);
  pieces.score = plan->score;
  for (const PlanStep& step : plan->steps)
    pieces.steps.push_back({step.name, alone(step.placement), step.score});
  pieces.game = std::move(plan->game);
  for (int task = 0; task < problem.tasks(); ++task) pieces.model_of.push_back(task);
  return pieces;
}

Result<ReplicaPlan> PlanOfModels(const ClusterFile& file, PlacementProblem work, bool method) {
  const auto columns = ColumnsOf(file);
  ReplicaProblem problem;
  problem.work = std::move(work);
  bool known = false;
  for (const Task& task : file.graph.tasks) {
    problem.least.push_back(std::max(1, task.replicas));
    problem.most.push_back(task.replicas > 0 ? static_cast<int>(file.nodes.size()) : 1);
    std::vector<int> on;
    for (const std::string& place : task.serving)
      on.push_back(static_cast<int>(std::ranges::find(columns, place) - columns.begin()));
    known = known || !on.empty();
    problem.present.push_back(std::move(on));
  }
  for (size_t task = 0; task < problem.most.size(); ++task)
    problem.most[task] = std::max(problem.most[task], problem.least[task]);
  if (!known) problem.present.clear();
  ReplicaOptions options;
  options.method = method;
  return MakeReplicaPlan(problem, options);
}

// Why a model has as many replicas as it has.
std::string WhyReplicas(const Task& task, size_t planned) {
  const auto least = static_cast<size_t>(std::max(1, task.replicas));
  if (planned < least) return fmt::format("{} were to be, and no more find room", least);
  if (planned > least) return "its load";
  if (task.asked > 0) return "asked for";
  return task.serving.empty() ? "at least" : "as now";
}

// [{"task", "replicas", "least", "asked", "serving", "on": [{"node", "share"}], "why"}] of the models; empty: there are none.
Json ReplicasJson(const ClusterFile& file, const ReplicaPlan& plan) {
  const auto columns = ColumnsOf(file);
  Json replicas = Json::array();
  for (size_t task = 0; task < plan.places.size(); ++task) {
    const Task& one = file.graph.tasks[task];
    if (one.replicas == 0) continue;
    Json on = Json::array();
    for (const int place : plan.places[task])
      on.push_back({{"node", columns[static_cast<size_t>(place)]},
                    {"share", plan.shares.of(static_cast<Eigen::Index>(task), place)}});
    replicas.push_back({{"task", one.name},
                        {"replicas", plan.places[task].size()},
                        {"least", std::max(1, one.replicas)},
                        {"asked", one.asked > 0 ? Json(one.asked) : Json()},
                        {"serving", one.serving},
                        {"on", std::move(on)},
                        {"why", WhyReplicas(one, plan.places[task].size())}});
  }
  return replicas;
}

Result<ReplicaPlan> PlanBy(const ClusterFile& file, const Eigen::MatrixXd& seconds, bool method) {
  PlacementProblem problem = ProblemOf(file, seconds);
  return HasReplicas(file) ? PlanOfModels(file, std::move(problem), method)
                           : PlanOfPieces(problem, method);
}

// What a plan by the expected costs would stand on and nobody has measured, the least certain first: the plan itself reckons such pairs dearer, and keeps off them.
Json WorthMeasuring(const ClusterFile& file, const Completion& costs, int most) {
  Json pairs = Json::array();
  const auto hopeful = PlanBy(file, costs.seconds, /*method=*/false);
  if (!hopeful.ok()) return pairs;
  const auto columns = ColumnsOf(file);
  for (const TaskOnNode& pair : NextPairs(costs, hopeful->places, most)) {
    pairs.push_back({{"task", file.graph.tasks[static_cast<size_t>(pair.task)].name},
                     {"node", columns[static_cast<size_t>(pair.node)]},
                     {"seconds", costs.seconds(pair.task, pair.node)},
                     {"deviation", costs.deviation(pair.task, pair.node)}});
  }
  return pairs;
}

// What the tasks that are placed whole make of the document.
Status AddPlan(const ClusterFile& file, bool method, int most_pairs, Json* document) {
  const Costs costs = CostsOf(file);
  const CostMatrix weighted = method ? WeightedDemand(file.graph.tasks, file.nodes) : CostMatrix{};
  const Eigen::MatrixXd seconds = method ? weighted.seconds : CarefulCosts(costs.completion);
  EK_RETURN_IF_ERROR(EachHasAPlace(file, costs.roofline));
  const auto plan = PlanBy(file, seconds, method);
  if (!plan.ok()) return plan.status();
  (*document)["matrix"] = MatrixJson(file, costs, seconds);
  if (!method) {
    (*document)["factors"] = {
        {"measured_pairs", costs.measured.size()},
        {"rank", costs.completion.rank},
        {"left_out_error", costs.completion.left_out_error},
        {"worth_measuring", WorthMeasuring(file, costs.completion, most_pairs)}};
  }
  for (const ReplicaStep& step : plan->steps) {
    (*document)["steps"].push_back({{"name", step.name},
                                    {"makespan_s", step.score.makespan_s},
                                    {"total_s", step.score.total_s},
                                    {"sets", SetsJson(file, step.places)}});
  }
  (*document)["moves"] = MovesJson(file, plan->game, plan->model_of);
  (*document)["placement"] = SetsJson(file, plan->places);
  if (Json replicas = ReplicasJson(file, *plan); !replicas.empty())
    (*document)["replicas"] = std::move(replicas);
  const auto columns = ColumnsOf(file);
  for (size_t place = 0; place < plan->shares.levels.size(); ++place)
    (*document)["loads_s"][columns[place]] = plan->shares.levels[place];
  (*document)["makespan_s"] = plan->score.makespan_s;
  (*document)["total_s"] = plan->score.total_s;
  if (plan->present_s) (*document)["present_s"] = *plan->present_s;
  return Status::Ok();
}

// Where nothing is placed whole: what is on the nodes already, and the stages.
void AddLoads(const ClusterFile& file, Json* document) {
  double most_s = 0;
  for (const Place& place : PlacesOf(file.nodes)) {
    const double load_s =
        place.accelerator < 0 ? file.nodes[static_cast<size_t>(place.node)].load_s : 0;
    (*document)["placement"][NameOf(place, file.nodes)] = Json::array();
    (*document)["loads_s"][NameOf(place, file.nodes)] = load_s;
    most_s = std::max(most_s, load_s);
  }
  (*document)["makespan_s"] = most_s;
  (*document)["total_s"] = 0;
}

}  // namespace

Result<Json> PlanDocument(const ClusterFile& file, bool method, int most_pairs) {
  auto cut = CutWhatFitsNowhere(file);
  if (!cut.ok()) return cut.status();
  Json document = {{"schema", "evenkeel.plan/v1"}, {"rules", method ? "method" : "ours"},
                   {"nodes", NodesJson(file)},     {"matrix", Json::array()},
                   {"steps", Json::array()},       {"moves", Json::array()},
                   {"placement", Json::object()},  {"loads_s", Json::object()}};
  if (cut->rest.graph.tasks.empty())
    AddLoads(cut->rest, &document);
  else
    EK_RETURN_IF_ERROR(AddPlan(cut->rest, method, most_pairs, &document));
  for (const Json& model : cut->cuts) {
    for (const Json& stage : model["stages"])
      document["placement"][stage["node"].get<std::string>()].push_back(stage["name"]);
  }
  if (!cut->cuts.empty()) document["cuts"] = std::move(cut->cuts);
  return document;
}

}  // namespace evenkeel
