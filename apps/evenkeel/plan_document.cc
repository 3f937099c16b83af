#include "plan_document.h"

#include <map>
#include <nlohmann/json.hpp>
#include <set>
#include <utility>

#include "cluster/policy/cost_matrix.h"
#include "cluster/policy/factorisation.h"
#include "cluster/policy/plan.h"
#include "core/format.h"

namespace evenkeel {
namespace {

using Json = nlohmann::ordered_json;

struct Costs {
  CostMatrix roofline;
  Completion completion;
  std::set<std::pair<int, int>> measured;
};

Costs CostsOf(const ClusterFile& file) {
  Costs costs;
  costs.roofline = Roofline(file.graph.tasks, file.nodes);
  std::vector<MeasuredPair> pairs;
  for (const MeasuredCost& one : file.measured) {
    pairs.push_back({one.task, one.node, one.seconds});
    costs.measured.emplace(one.task, one.node);
  }
  costs.completion = Complete(costs.roofline.seconds, pairs);
  return costs;
}

Status EachHasANode(const ClusterFile& file, const CostMatrix& costs) {
  for (size_t task = 0; task < file.graph.tasks.size(); ++task) {
    if (costs.seconds.row(static_cast<Eigen::Index>(task)).minCoeff() < kImpossible) continue;
    std::string why;
    for (size_t node = 0; node < file.nodes.size(); ++node)
      why += fmt::format("{}node {}: rejected, {}", why.empty() ? "" : "; ", file.nodes[node].name,
                         costs.reasons[task][node]);
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
  for (const NodeState& node : file.nodes) {
    int64_t room = node.free_memory_bytes;
    for (const AcceleratorResources& one : node.total.accelerators) room += one.memory_bytes;
    problem.room.push_back(room);
    problem.present_s.push_back(node.load_s);
  }
  for (const TaskDependency& one : file.graph.dependencies)
    problem.edges.push_back({index.at(one.before), index.at(one.after), one.bytes});
  const auto nodes = static_cast<Eigen::Index>(file.nodes.size());
  problem.bytes_per_s = Eigen::MatrixXd::Constant(nodes, nodes, file.link.bytes_per_s);
  problem.latency_s = Eigen::MatrixXd::Constant(nodes, nodes, file.link.round_trip_s / 2);
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
  Json matrix = Json::array();
  for (size_t task = 0; task < file.graph.tasks.size(); ++task) {
    Json row = Json::array();
    for (size_t node = 0; node < file.nodes.size(); ++node) {
      const auto j = static_cast<int>(task), i = static_cast<int>(node);
      Json cell = {{"node", file.nodes[node].name}};
      if (seconds(j, i) < kImpossible) {
        cell["seconds"] = seconds(j, i);
        cell["measured"] = costs.measured.contains({j, i});
      } else {
        cell["reason"] = costs.roofline.reasons[task][node];
      }
      row.push_back(std::move(cell));
    }
    matrix.push_back({{"task", file.graph.tasks[task].name}, {"costs", std::move(row)}});
  }
  return matrix;
}

Json SetsJson(const ClusterFile& file, const Placement& placement) {
  Json sets = Json::object();
  for (const NodeState& node : file.nodes) sets[node.name] = Json::array();
  for (size_t task = 0; task < placement.size(); ++task)
    sets[file.nodes[static_cast<size_t>(placement[task])].name].push_back(
        file.graph.tasks[task].name);
  return sets;
}

Json MovesJson(const ClusterFile& file, const GameResult& game) {
  Json moves = Json::array();
  for (const GameMove& move : game.moves) {
    moves.push_back({{"task", file.graph.tasks[static_cast<size_t>(move.task)].name},
                     {"from", file.nodes[static_cast<size_t>(move.from)].name},
                     {"to", file.nodes[static_cast<size_t>(move.to)].name},
                     {"utility_before", move.utility_before},
                     {"utility_after", move.utility_after},
                     {"potential", move.potential}});
  }
  return moves;
}

}  // namespace

Result<Json> PlanDocument(const ClusterFile& file, bool method) {
  const Costs costs = CostsOf(file);
  const CostMatrix weighted = method ? WeightedDemand(file.graph.tasks, file.nodes) : CostMatrix{};
  const Eigen::MatrixXd& seconds = method ? weighted.seconds : costs.completion.seconds;
  EK_RETURN_IF_ERROR(EachHasANode(file, costs.roofline));
  const PlacementProblem problem = ProblemOf(file, seconds);
  const auto plan = method ? MakePlanByMethod(problem) : MakePlan(problem);
  if (!plan.ok()) return plan.status();

  Json document = {{"schema", "evenkeel.plan/v1"},
                   {"rules", method ? "method" : "ours"},
                   {"nodes", NodesJson(file)},
                   {"matrix", MatrixJson(file, costs, seconds)}};
  if (!method) {
    document["factors"] = {{"measured_pairs", costs.measured.size()},
                           {"rank", costs.completion.rank},
                           {"shrinkage", costs.completion.shrinkage},
                           {"left_out_error", costs.completion.left_out_error}};
  }
  document["steps"] = Json::array();
  for (const PlanStep& step : plan->steps) {
    document["steps"].push_back({{"name", step.name},
                                 {"makespan_s", step.score.makespan_s},
                                 {"total_s", step.score.total_s},
                                 {"sets", SetsJson(file, step.placement)}});
  }
  document["moves"] = MovesJson(file, plan->game);
  document["placement"] = SetsJson(file, plan->placement);
  document["loads_s"] = Json::object();
  const auto loads = LoadsOf(problem, plan->placement);
  for (size_t node = 0; node < loads.size(); ++node)
    document["loads_s"][file.nodes[node].name] = loads[node];
  document["makespan_s"] = plan->score.makespan_s;
  document["total_s"] = plan->score.total_s;
  return document;
}

}  // namespace evenkeel
