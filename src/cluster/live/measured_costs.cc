#include "cluster/live/measured_costs.h"

#include <algorithm>
#include <cmath>
#include <optional>
#include <utility>

namespace evenkeel {
namespace {

constexpr int kSweeps = 20;
constexpr double kFitEvery = 60;  // seconds

// Figures may say what no measurement gave.
bool Usable(double seconds) { return std::isfinite(seconds) && seconds > 1e-12; }

// GFLOP a second of one core; 0: not known.
double SpeedOf(const NodeFigures& figures) {
  const ResourceVector& has = figures.resources;
  return has.gflops > 0 && has.cores > 0 ? has.gflops / has.cores : 0;
}

// Versions are numbers.
bool Newer(std::string_view a, std::string_view b) {
  return a.size() != b.size() ? a.size() > b.size() : a > b;
}

// Of each model the newest version that any of the nodes tells of.
std::map<std::string_view, const ModelFigures*> NewestOf(
    std::span<const ReplicaTable::NodeView> nodes) {
  std::map<std::string_view, const ModelFigures*> newest;
  for (const ReplicaTable::NodeView& node : nodes) {
    if (!node.known || node.suspect) continue;
    for (const ModelFigures& model : node.figures.models) {
      if (!Usable(model.row_s)) continue;
      const ModelFigures*& at = newest[model.name];
      // Of one version in two forms all nodes take the same one.
      if (at == nullptr || Newer(model.version, at->version) ||
          (model.version == at->version && model.signature > at->signature))
        at = &model;
    }
  }
  return newest;
}

// Whether the node tells of a newer version that is the same to callers: its figures are the node's then.
bool Superseded(const ModelFigures& model, const NodeFigures& node) {
  return std::ranges::any_of(node.models, [&](const ModelFigures& other) {
    return other.name == model.name && other.signature == model.signature && Usable(other.row_s) &&
           Newer(other.version, model.version);
  });
}

}  // namespace

double MeasuredCosts::WeightOf(const Entry& entry, double now_s) {
  const auto n = static_cast<double>(entry.cost.count());
  return n / (n + kHalf) * std::exp2(-std::max(0.0, now_s - entry.at_s) / kHalfLife);
}

double MeasuredCosts::Residual(const Model& model, const Node& node, const Entry& entry) {
  return std::log(entry.cost.cost()) - (model.log_work - node.log_speed);
}

void MeasuredCosts::Take(const ReplicaTable::NodeView& node, const ModelFigures& figures,
                         double now_s, std::vector<Drift>* drifts) {
  Model& model = models_[figures.name];
  // Another model of the same name: what is known is not of it.
  if (model.signature != figures.signature) model = Model();
  model.signature = figures.signature;
  Entry& entry = model.on[node.name];
  const bool same_start = entry.incarnation == node.figures.incarnation;
  // A figure that stands still is no measurement.
  const bool fresh =
      figures.done > 0 ? !same_start || figures.done != entry.done : figures.row_s != entry.row_s;
  if (!fresh) return;
  fresh_ = true;
  entry.incarnation = node.figures.incarnation;
  entry.done = figures.done;
  entry.row_s = figures.row_s;
  entry.at_s = now_s;
  if (const auto change = entry.cost.OnCost(figures.row_s))
    drifts->push_back({figures.name, node.name, *change});
  if (model.learnt < kLearn) {
    const Node& on = nodes_[node.name];
    const double log_work = std::log(figures.row_s) + on.log_speed - on.effect;
    model.log_work += (log_work - model.log_work) / static_cast<double>(++model.learnt);
  }
}

std::vector<MeasuredCosts::Drift> MeasuredCosts::Look(std::span<const ReplicaTable::NodeView> nodes,
                                                      double now_s) {
  std::vector<Drift> drifts;
  const auto newest = NewestOf(nodes);
  for (const ReplicaTable::NodeView& node : nodes) {
    const double speed = SpeedOf(node.figures);
    if (!node.known || node.suspect || speed <= 0) continue;
    nodes_[node.name].log_speed = std::log(speed);
    for (const ModelFigures& model : node.figures.models) {
      if (Usable(model.row_s) && newest.at(model.name)->signature == model.signature &&
          !Superseded(model, node.figures))
        Take(node, model, now_s, &drifts);
    }
  }
  // Where nothing new came, only the weights age.
  if (fresh_ || now_s - fitted_s_ >= kFitEvery) {
    Forget(now_s);
    FitEffects(now_s);
    fresh_ = false;
  }
  return drifts;
}

void MeasuredCosts::Forget(double now_s) {
  for (auto& [name, model] : models_)
    std::erase_if(model.on, [&](const auto& one) { return now_s - one.second.at_s > kForget; });
  std::erase_if(models_, [](const auto& one) { return one.second.on.empty(); });
}

// Alternating: each effect is the ridge regression of what the other side leaves. It begins with the effects of before, which are near.
void MeasuredCosts::FitEffects(double now_s) {
  fitted_s_ = now_s;
  struct Term {
    size_t model, node;
    double y, w;
  };
  struct Side {
    double* effect;
    double above = 0, below = 0;
  };
  std::vector<Term> terms;
  std::vector<Side> models, nodes;
  std::map<std::string_view, size_t> index;
  for (auto& [name, node] : nodes_) {
    index.emplace(name, nodes.size());
    nodes.push_back({&node.effect});
  }
  for (auto& [name, model] : models_) {
    for (const auto& [on, entry] : model.on)
      terms.push_back({models.size(), index.at(on), Residual(model, nodes_.find(on)->second, entry),
                       WeightOf(entry, now_s)});
    models.push_back({&model.effect});
  }
  const auto fit = [&terms](std::vector<Side>& side, size_t Term::*own, std::vector<Side>& other,
                            size_t Term::*others, double ridge) {
    for (Side& one : side) one.above = one.below = 0;
    for (const Term& term : terms) {
      Side& one = side[term.*own];
      one.above += term.w * (term.y - *other[term.*others].effect);
      one.below += term.w;
    }
    for (Side& one : side) *one.effect = one.above / (one.below + ridge);
  };
  for (int sweep = 0; sweep < kSweeps; ++sweep) {
    fit(nodes, &Term::node, models, &Term::model, kNodeRidge);
    fit(models, &Term::model, nodes, &Term::node, kModelRidge);
  }
}

std::optional<MeasuredCosts::Pair> MeasuredCosts::Of(std::string_view name,
                                                     const ReplicaTable::NodeView& view,
                                                     double now_s) const {
  const auto at = models_.find(name);
  const double speed = SpeedOf(view.figures);
  if (at == models_.end() || at->second.learnt == 0 || speed <= 0) return std::nullopt;
  const Model& model = at->second;
  const auto on = nodes_.find(view.name);
  Node node = on != nodes_.end() ? on->second : Node();
  node.log_speed = std::log(speed);
  Pair pair;
  pair.predicted_s = std::exp(model.log_work) / speed;
  double log_factor = model.effect + node.effect;
  if (const auto entry = model.on.find(view.name); entry != model.on.end()) {
    const double w = WeightOf(entry->second, now_s);
    log_factor += w * (Residual(model, node, entry->second) - log_factor);
    pair.measured_s = entry->second.cost.cost();
    pair.noise = entry->second.cost.noise();
    pair.samples = entry->second.cost.count();
    pair.age_s = now_s - entry->second.at_s;
  }
  pair.factor = std::exp(log_factor);
  return pair;
}

double MeasuredCosts::WorkOf(std::string_view name) const {
  const auto at = models_.find(name);
  return at == models_.end() || at->second.learnt == 0 ? 0 : std::exp(at->second.log_work);
}

}  // namespace evenkeel
