#include "cluster/policy/plan.h"

#include <utility>

#include "cluster/policy/exact.h"
#include "core/format.h"

namespace evenkeel {
namespace {

constexpr int kFewTasks = 16;

void Add(const PlacementProblem& problem, const char* name, std::optional<Placement> placement,
         Plan* plan) {
  if (!placement) return;
  const PlacementScore score = Score(problem, *placement);
  if (plan->placement.empty() || score < plan->score) {
    plan->score = score;
    plan->placement = *placement;
  }
  plan->steps.push_back({name, std::move(*placement), score});
}

Status NoneFound(const PlacementProblem& problem) {
  return Unavailable("no way was found to fit {} tasks into the memory of {} nodes",
                     problem.tasks(), problem.nodes());
}

}  // namespace

Result<Plan> MakePlan(const PlacementProblem& problem, const PlanOptions& options) {
  EK_RETURN_IF_ERROR(CheckProblem(problem));
  Plan plan;
  Add(problem, "factors", PartitionByFactors(problem), &plan);
  const bool by_factors = !plan.steps.empty();
  Add(problem, "longest first", LongestFirst(problem), &plan);
  Add(problem, "single node", BestSingleNode(problem), &plan);
  const bool few = problem.edges.empty() && problem.tasks() <= kFewTasks;
  if (plan.steps.empty() && few) Add(problem, "all looked at", SearchAll(problem, {}), &plan);
  if (plan.steps.empty()) return NoneFound(problem);
  plan.game =
      Settle(problem, by_factors ? plan.steps.front().placement : plan.placement, options.weights);
  Add(problem, "game", plan.game.placement, &plan);
  Add(problem, "improved", Improve(problem, plan.placement, options.improve), &plan);
  if (few) Add(problem, "all looked at", SearchAll(problem, plan.placement), &plan);
  return plan;
}

Result<Plan> MakePlanByMethod(const PlacementProblem& problem, const PlanOptions& options) {
  EK_RETURN_IF_ERROR(CheckProblem(problem));
  Plan plan;
  Add(problem, "non-negative factors", PartitionByMethod(problem), &plan);
  Add(problem, "bids", Bid(problem, options.weights), &plan);
  if (plan.steps.empty()) return NoneFound(problem);
  return plan;
}

}  // namespace evenkeel
