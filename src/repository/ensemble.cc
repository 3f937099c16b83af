#include "repository/ensemble.h"

#include <algorithm>
#include <map>
#include <set>
#include <utility>

#include "core/cycle.h"
#include "core/format.h"
#include "core/parse.h"

namespace evenkeel {
namespace {

constexpr int kGiven = -1;  // comes with the request

std::string StepName(const std::vector<EnsembleStep>& steps, size_t i) {
  return fmt::format("step {} ('{}')", i, steps[i].model);
}

Status CheckStep(std::string_view ensemble, const std::vector<EnsembleStep>& steps, size_t i) {
  const EnsembleStep& step = steps[i];
  if (step.model.empty()) return InvalidArgument("step {}: a model's name is missing", i);
  if (step.model == ensemble)
    return InvalidArgument("{}: an ensemble can't be a step of itself", StepName(steps, i));
  if (step.outputs.empty())
    return InvalidArgument("{}: output_map is empty, so nothing would come of it",
                           StepName(steps, i));
  for (const auto* named : {&step.inputs, &step.outputs}) {
    std::set<std::string_view> own;
    for (const EnsembleStep::Named& one : *named) {
      if (one.own.empty() || one.tensor.empty())
        return InvalidArgument("{}: a tensor's name is empty", StepName(steps, i));
      if (!own.insert(one.own).second)
        return InvalidArgument("{}: {} is mapped twice", StepName(steps, i), Excerpt(one.own));
    }
  }
  return Status::Ok();
}

}  // namespace

Status OrderEnsemble(std::string_view name, const std::vector<std::string>& inputs,
                     const std::vector<std::string>& outputs, std::vector<EnsembleStep>* steps) {
  if (steps->empty()) return InvalidArgument("an ensemble without steps");
  if (steps->size() > kMostEnsembleSteps)
    return InvalidArgument("expected at most {} steps, got {}", kMostEnsembleSteps, steps->size());
  std::map<std::string_view, int> maker;  // of a tensor: a step, or kGiven
  for (const std::string& input : inputs) maker.emplace(input, kGiven);
  for (size_t i = 0; i < steps->size(); ++i) {
    EK_RETURN_IF_ERROR(CheckStep(name, *steps, i));
    for (const EnsembleStep::Named& output : (*steps)[i].outputs) {
      const auto [at, first] = maker.emplace(output.tensor, static_cast<int>(i));
      if (first) continue;
      return InvalidArgument(
          "{}: tensor {} is made already, by {}", StepName(*steps, i), Excerpt(output.tensor),
          at->second == kGiven ? "the request" : StepName(*steps, static_cast<size_t>(at->second)));
    }
  }
  std::vector<std::pair<int, int>> edges;
  for (size_t i = 0; i < steps->size(); ++i) {
    for (const EnsembleStep::Named& input : (*steps)[i].inputs) {
      const auto at = maker.find(input.tensor);
      if (at == maker.end())
        return InvalidArgument("{}: tensor {} comes from nowhere: no input and no step's output",
                               StepName(*steps, i), Excerpt(input.tensor));
      if (at->second != kGiven) edges.emplace_back(at->second, static_cast<int>(i));
    }
  }
  for (const std::string& output : outputs) {
    if (!maker.contains(output))
      return InvalidArgument("output {} comes from nowhere: no step makes it", Excerpt(output));
  }
  std::string circle;
  for (const int step : FindCycle(static_cast<int>(steps->size()), edges))
    circle += (circle.empty() ? "" : " -> ") + StepName(*steps, static_cast<size_t>(step));
  if (!circle.empty()) return InvalidArgument("steps wait for each other in a circle: {}", circle);
  // Again and again those whose makers are placed: there is one each time, since there is no circle.
  std::vector<EnsembleStep> ordered;
  std::vector<bool> placed(steps->size(), false);
  while (ordered.size() < steps->size()) {
    for (size_t i = 0; i < steps->size(); ++i) {
      const bool waits = std::ranges::any_of(edges, [&](const auto& edge) {
        return edge.second == static_cast<int>(i) && !placed[static_cast<size_t>(edge.first)];
      });
      if (placed[i] || waits) continue;
      placed[i] = true;
      ordered.push_back((*steps)[i]);
    }
  }
  *steps = std::move(ordered);
  return Status::Ok();
}

}  // namespace evenkeel
