#include "cluster/live/kept_replicas.h"

#include <algorithm>
#include <iterator>
#include <utility>

#include "cluster/live/replica_wishes.h"
#include "cluster/policy/placement.h"
#include "core/format.h"

namespace evenkeel {
namespace {

using NodeView = ReplicaTable::NodeView;

// As ReplicasNow() counts.
bool Counts(const NodeView& node) { return node.known && !node.gone && !node.suspect; }

bool Serves(const NodeView& node, std::string_view model) {
  return std::ranges::find(node.figures.models, model, &ModelFigures::name) !=
         node.figures.models.end();
}

// Memory of a model on a node, in all its versions.
int64_t BytesOn(const NodeView& node, std::string_view model) {
  int64_t bytes = 0;
  for (const ModelFigures& figures : node.figures.models) {
    if (figures.name == model) bytes += figures.memory_bytes;
  }
  return bytes;
}

// Seconds of a model's work a second on each of the nodes, at `rate`, or at more where its replicas tell of more calls and all of them are to count.
std::vector<double> SecondsOf(std::string_view model, std::span<const NodeView* const> nodes,
                              const MeasuredCosts& costs, double rate, bool all_calls,
                              double now_s) {
  double rows = 0, calls = 0;
  for (const NodeView* node : nodes) {
    for (const ModelFigures& figures : node->figures.models) {
      if (figures.name != model) continue;
      rows += figures.rate_rps * figures.call_rows;
      calls += figures.rate_rps;
    }
  }
  if (all_calls) rate = std::max(rate, calls);
  if (rate <= 0) return std::vector<double>(nodes.size(), 0);
  const double call_rows = calls > 0 ? rows / calls : 1;
  std::vector<double> seconds;
  for (const NodeView* node : nodes) {
    const auto pair = costs.Of(model, *node, now_s);
    // A model that is called takes some time, however little.
    seconds.push_back(pair ? std::max(1e-9, rate * call_rows * pair->best_s() / node->figures.cores)
                           : kImpossible);
  }
  return seconds;
}

}  // namespace

// One more replica of the model, on any node that it can be on.
bool KeptReplicas::FindsRoom(std::string_view name, const Model& model,
                             std::span<const NodeView> nodes, const MeasuredCosts& costs,
                             double now_s) const {
  int64_t bytes = 0;
  for (const NodeView& node : nodes) {
    if (Counts(node)) bytes = std::max(bytes, BytesOn(node, name));
  }
  return std::ranges::any_of(nodes, [&](const NodeView& node) {
    const bool there = node.known && !node.gone && !node.figures.draining &&
                       (!node.suspect || node.age_s < options_.missing_s);
    return there && !model.on.contains(node.name) &&
           HasRoom(node.figures.free_memory_bytes, bytes) &&
           costs.Of(name, node, now_s).has_value();
  });
}

void KeptReplicas::Look(std::span<const NodeView> nodes, const MeasuredCosts& costs, double now_s) {
  for (const NodeView& node : nodes) {
    if (!Counts(node)) continue;
    for (const ModelFigures& figures : node.figures.models)
      models_[figures.name].seen.try_emplace(node.name, Seen{now_s, now_s}).first->second.last_s =
          now_s;
  }
  const auto replicas = ReplicasNow(nodes);
  for (auto& [name, model] : models_) {
    std::erase_if(model.seen, [&](const auto& one) { return now_s - one.second.last_s > kForget; });
    std::set<std::string, std::less<>> on;
    for (const auto& [node, seen] : model.seen) {
      if (seen.last_s >= now_s) on.insert(node);
    }
    const auto now = replicas.find(name);
    const int64_t said_ms = now == replicas.end() ? model.said_ms : now->second.said_ms;
    const bool changed = on != model.on, spoken = said_ms > model.said_ms;
    if (changed || spoken) {
      // One that left, or was lost, takes nothing back: of three that are too many three go. One that came may have come for the load.
      model.said = (spoken || model.said) && std::ranges::includes(model.on, on);
      model.still_s = now_s;
      model.named_s.reset();
    }
    model.on = std::move(on);
    model.said_ms = said_ms;
    if (now != replicas.end()) model.asked = now->second.asked;
    if (std::ssize(model.on) < model.asked && FindsRoom(name, model, nodes, costs, now_s))
      model.room_s = now_s;
  }
  std::erase_if(models_, [](const auto& one) { return one.second.seen.empty(); });
}

SurplusProblem KeptReplicas::ProblemOf(std::span<const NodeView* const> nodes,
                                       const MeasuredCosts& costs, const RateOf& rate_of,
                                       double now_s) const {
  SurplusProblem problem;
  for (const NodeView* node : nodes) problem.free_bytes.push_back(node->figures.free_memory_bytes);
  for (const auto& [name, model] : models_) {
    SurplusModel one;
    // Of what was named already nothing is too much.
    one.asked =
        model.named(now_s) ? std::max(model.asked, static_cast<int>(model.on.size())) : model.asked;
    one.said = model.said;
    one.still_s = model.still_s;
    one.room_s = model.room_s;
    for (size_t i = 0; i < nodes.size(); ++i) {
      if (!model.on.contains(nodes[i]->name)) continue;
      const int64_t bytes = BytesOn(*nodes[i], name);
      one.memory_bytes = std::max(one.memory_bytes, bytes);
      one.on.push_back({static_cast<int>(i), bytes, model.seen.at(nodes[i]->name).first_s});
    }
    // Few calls of a language model are much work: those that stay have to carry it.
    const bool gives_up = model.asked > 0 && std::ssize(model.on) > model.asked;
    one.seconds = SecondsOf(name, nodes, costs, rate_of(name), gives_up, now_s);
    problem.models.push_back(std::move(one));
  }
  return problem;
}

std::optional<KeptReplicas::GivenUp> KeptReplicas::Choose(std::span<const NodeView> all,
                                                          const MeasuredCosts& costs,
                                                          const RateOf& rate_of, double now_s) {
  const auto too_many = [now_s](const auto& one) {
    const Model& model = one.second;
    return model.asked > 0 && std::ssize(model.on) > model.asked && !model.named(now_s);
  };
  if (std::ranges::none_of(models_, too_many)) return std::nullopt;
  std::vector<const NodeView*> nodes;
  for (const NodeView& node : all) {
    if (Counts(node)) nodes.push_back(&node);
  }
  const auto surplus = SurplusToGiveUp(ProblemOf(nodes, costs, rate_of, now_s), now_s, options_);
  if (!surplus) return std::nullopt;
  auto& [name, model] = *std::next(models_.begin(), surplus->model);
  model.named_s = now_s;
  GivenUp given{name, nodes[static_cast<size_t>(surplus->node)]->name, {}, {}};
  for (const std::string& node : model.on) {
    if (node != given.node) given.stay.push_back(node);
  }
  for (const NodeView& node : all) {
    const bool drains = node.known && !node.gone && node.suspect && node.figures.draining;
    if (drains && Serves(node, name)) given.stay.push_back(node.name);
  }
  const std::string why = surplus->wanted_by < 0
                              ? std::string("fewer were asked for while these served")
                              : fmt::format("model '{}' finds no memory for one that was asked for",
                                            std::next(models_.begin(), surplus->wanted_by)->first);
  given.reason = fmt::format(
      "model '{}' has {} replicas of {} that were asked for, and {}: it "
      "leaves node '{}'",
      name, model.on.size(), model.asked, why, given.node);
  return given;
}

void KeptReplicas::NotDone(std::string_view model, double now_s) {
  const auto at = models_.find(model);
  if (at == models_.end()) return;
  at->second.named_s.reset();
  at->second.still_s = now_s;
}

}  // namespace evenkeel
