#include "cluster/models/apply_steps.h"

#include <algorithm>
#include <map>
#include <optional>
#include <utility>

#include "core/format.h"
#include "core/parse.h"

namespace evenkeel {
namespace {

class Planner {
 public:
  // `careful`: two replicas stay of a model that has two and is to have two.
  Planner(std::vector<PlannedModel> models, const std::vector<PlannedNode>& nodes, bool careful)
      : models_(std::move(models)) {
    for (const PlannedNode& node : nodes) free_[node.name] = node.free_memory_bytes;
    for (const PlannedModel& model : models_)
      least_[model.name] = careful && model.serving.size() > 1 && model.wanted.size() > 1 ? 2 : 1;
  }

  Status Check() const;
  Result<std::vector<ApplyStep>> Run();

 private:
  bool Done(const PlannedModel& model) const {
    return model.wanted.empty() || model.serving == model.wanted;
  }
  std::optional<std::string> FirstMissing(const PlannedModel& model) const;
  std::optional<std::string> FirstUnwanted(const PlannedModel& model) const;
  void Load(PlannedModel& model, const std::string& node, bool for_now);
  void Unload(PlannedModel& model, const std::string& node);
  bool UnloadWhatServesWhereWanted();
  bool LoadWhatFits();
  bool UnloadToMakeRoom();
  bool StepAside();

  std::vector<PlannedModel> models_;
  std::map<std::string, int64_t, std::less<>> free_;
  std::map<std::string, size_t, std::less<>> least_;  // replicas, by model
  std::set<std::string> aside_;                       // had a replica for the time being
  std::vector<ApplyStep> steps_;
};

Status Planner::Check() const {
  for (const PlannedModel& model : models_) {
    if (model.wanted.empty()) continue;
    if (model.serving.empty())
      return InvalidArgument("model '{}' serves nowhere: there is nothing to move", model.name);
    for (const auto* nodes : {&model.serving, &model.wanted}) {
      for (const std::string& node : *nodes) {
        if (!free_.contains(node))
          return InvalidArgument("model '{}': there is no node '{}'", model.name, node);
      }
    }
  }
  return Status::Ok();
}

std::optional<std::string> Planner::FirstUnwanted(const PlannedModel& model) const {
  for (const std::string& node : model.serving) {
    if (!model.wanted.contains(node)) return node;
  }
  return std::nullopt;
}

// That has room for it.
std::optional<std::string> Planner::FirstMissing(const PlannedModel& model) const {
  for (const std::string& node : model.wanted) {
    if (!model.serving.contains(node) && free_.at(node) >= model.memory_bytes) return node;
  }
  return std::nullopt;
}

void Planner::Load(PlannedModel& model, const std::string& node, bool for_now) {
  free_[node] -= model.memory_bytes;
  model.serving.insert(node);
  steps_.push_back({true, model.name, node, for_now});
}

void Planner::Unload(PlannedModel& model, const std::string& node) {
  free_[node] += model.memory_bytes;
  model.serving.erase(node);
  steps_.push_back({false, model.name, node, false});
}

bool Planner::UnloadWhatServesWhereWanted() {
  for (PlannedModel& model : models_) {
    if (Done(model) || !std::ranges::includes(model.serving, model.wanted)) continue;
    Unload(model, std::string(*FirstUnwanted(model)));
    return true;
  }
  return false;
}

bool Planner::LoadWhatFits() {
  for (PlannedModel& model : models_) {
    if (Done(model)) continue;
    const auto node = FirstMissing(model);
    if (!node) continue;
    Load(model, *node, false);
    return true;
  }
  return false;
}

bool Planner::UnloadToMakeRoom() {
  for (PlannedModel& model : models_) {
    if (Done(model) || model.serving.size() <= least_.at(model.name)) continue;
    const auto node = FirstUnwanted(model);
    if (!node) continue;
    Unload(model, *node);
    return true;
  }
  return false;
}

// The last replica of a model is in the way, and nothing fits where it is wanted: it goes somewhere else first.
bool Planner::StepAside() {
  for (PlannedModel& model : models_) {
    if (Done(model) || aside_.contains(model.name)) continue;
    const auto leaves = FirstUnwanted(model);
    if (!leaves) continue;
    for (auto& [node, free] : free_) {
      if (model.serving.contains(node) || free < model.memory_bytes) continue;
      aside_.insert(model.name);
      Load(model, std::string(node), true);
      Unload(model, *leaves);
      return true;
    }
  }
  return false;
}

Result<std::vector<ApplyStep>> Planner::Run() {
  for (;;) {
    if (UnloadWhatServesWhereWanted() || LoadWhatFits() || UnloadToMakeRoom() || StepAside())
      continue;
    for (const PlannedModel& model : models_) {
      if (Done(model)) continue;
      std::string where;
      for (const std::string& node : model.wanted) {
        if (!model.serving.contains(node))
          where += fmt::format("{}node '{}' has {} free", where.empty() ? "" : ", ", node,
                               FormatBytes(std::max<int64_t>(free_.at(node), 0)));
      }
      return Unavailable(
          "model '{}' takes {} and finds no room ({}); no order of moves keeps every model served",
          model.name, FormatBytes(model.memory_bytes), where);
    }
    return steps_;
  }
}

}  // namespace

Result<std::vector<ApplyStep>> StepsToPlan(std::vector<PlannedModel> models,
                                           std::vector<PlannedNode> nodes) {
  Planner careful(models, nodes, /*careful=*/true);
  EK_RETURN_IF_ERROR(careful.Check());
  if (auto steps = careful.Run(); steps.ok()) return steps;
  return Planner(std::move(models), nodes, /*careful=*/false).Run();
}

}  // namespace evenkeel
