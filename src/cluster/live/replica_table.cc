#include "cluster/live/replica_table.h"

#include <algorithm>
#include <span>
#include <utility>

#include "cluster/policy/sequence_cost.h"

namespace evenkeel {
namespace {

// Seconds of a row where no node has measured any: what counts is that it is the same everywhere.
constexpr double kUnmeasuredRow = 0.01;

// The figures of the newest version that is meant.
const ModelFigures* Find(const NodeFigures& figures, std::string_view model,
                         std::string_view version, uint64_t signature) {
  const ModelFigures* found = nullptr;
  for (const ModelFigures& one : figures.models) {
    if (one.name != model || (!version.empty() && one.version != version)) continue;
    if (signature != 0 && one.signature != signature) continue;
    // Versions are decimal numbers without leading zeros.
    const auto order = [](const ModelFigures& m) {
      return std::pair(m.version.size(), std::string_view(m.version));
    };
    if (found == nullptr || order(*found) < order(one)) found = &one;
  }
  return found;
}

}  // namespace

ReplicaTable::ReplicaTable(RouteRule rule, uint64_t seed, std::vector<std::string> nodes)
    : router_(rule, seed) {
  nodes_.resize(nodes.size());
  for (size_t i = 0; i < nodes.size(); ++i) nodes_[i].name = std::move(nodes[i]);
}

int ReplicaTable::AddNode(std::string name) {
  nodes_.emplace_back().name = std::move(name);
  return static_cast<int>(nodes_.size()) - 1;
}

void ReplicaTable::OnFigures(int node, NodeFigures figures, double made_s, double now_s,
                             bool answered) {
  Node& known = nodes_[static_cast<size_t>(node)];
  if (known.gone) return;
  // Also where the figures are known already: what it told by itself may have come before.
  if (answered || !known.figures) known.answered_s = std::max(known.answered_s, made_s);
  const bool restarted = known.figures && known.figures->incarnation != figures.incarnation;
  if (known.figures && !restarted && figures.sequence <= known.figures->sequence) return;
  if (made_s < known.made_s) return;
  if (restarted || !known.figures) known.backlog = Backlog(figures.cores);
  known.backlog.set_capacity(figures.cores);
  // Sends of the other gateways are in the next figures: they come soon enough.
  known.backlog.OnFigures(figures.backlog_s, made_s, now_s, /*alike=*/1);
  known.made_s = made_s;
  known.figures = std::move(figures);
  for (auto& [model, sequences] : known.sequences) sequences.at_figures = sequences.under_way;
}

void ReplicaTable::OnRoundTrip(int node, double seconds) {
  Node& one = nodes_[static_cast<size_t>(node)];
  one.round_trips[one.tried++ % kRoundTrips] = seconds;
  const auto last = std::span(one.round_trips).first(std::min(one.tried, kRoundTrips));
  one.round_trip_s = *std::ranges::min_element(last);
}

void ReplicaTable::OnBandwidth(int node, double bytes_per_s) {
  nodes_[static_cast<size_t>(node)].bytes_per_s = bytes_per_s;
}

void ReplicaTable::OnLinkFailure(int node, double now_s) {
  nodes_[static_cast<size_t>(node)].failed_s = now_s;
}

void ReplicaTable::OnDoubt(int node, bool doubt) {
  nodes_[static_cast<size_t>(node)].doubt = doubt;
}

void ReplicaTable::OnGone(int node) {
  Node& known = nodes_[static_cast<size_t>(node)];
  known.gone = true;
  known.figures.reset();
}

bool ReplicaTable::Suspect(size_t node, double now_s) const {
  const Node& one = nodes_[node];
  if (!one.figures || one.figures->draining) return true;
  if (node == 0) return false;
  return Failed(one) || now_s - one.made_s > kStale;
}

double ReplicaTable::OpenNow(const Node& node, const ModelFigures& model) {
  const auto of = node.sequences.find(model.name);
  if (of == node.sequences.end()) return model.open;
  const Sequences& own = of->second;
  return std::max(own.under_way, model.open + own.under_way - own.at_figures);
}

// What is asked for at most, and no more than answers take on the average where they are known best: who leaves it open does not want it all.
double ReplicaTable::AnswerTokens(const Wanted& wanted) const {
  double mean = 1;
  for (const Node& node : nodes_) {
    if (!node.figures) continue;
    if (const ModelFigures* model =
            Find(*node.figures, wanted.model, wanted.version, wanted.signature))
      mean = std::max(mean, model->call_rows);
  }
  return std::min(static_cast<double>(wanted.rows) / std::max(1, wanted.choices), mean);
}

void ReplicaTable::TellSequenceCost(const Node& node, const ModelFigures& model,
                                    const Wanted& wanted, double answer_tokens, ReplicaView* view) {
  const double cores = node.figures->cores;
  const SequenceCost cost =
      CostOfSequence({.steps = model.step_s,
                      .prompt_token_s = model.prompt_token_s / cores,
                      .slots = model.slots,
                      .open = OpenNow(node, model) + wanted.choices - 1,
                      .call_rows = model.call_rows},
                     answer_tokens, static_cast<double>(wanted.prompt_tokens));
  // What else there is to do shares the cores: it delays an answer by no more than what that takes itself.
  const double running = std::min(model.open, model.slots), waiting = model.open - running;
  const double own_s = WorkOf(model, (running / 2 + waiting) * model.call_rows);
  const double other_s = std::max(0.0, node.figures->backlog_s - own_s) / cores;
  view->service_s = cost.service_s;
  view->wait_s = cost.wait_s + std::min(other_s, cost.service_s);
  view->beside_s = cost.beside_s;
}

ReplicaTable::Choice ReplicaTable::Choose(const Wanted& wanted, const std::vector<bool>& not_these,
                                          double now_s) {
  std::vector<ReplicaView> views(nodes_.size());
  std::vector<double> works(nodes_.size(), 0);
  std::vector<size_t> doubtful, unmeasured;
  double fastest = 1e-9;  // rows a second
  double dearest = 0;     // work of a row, of those that are known
  double longest_s = 0;   // service, of sequences whose steps are known
  const double answer_tokens = wanted.rows > 0 ? AnswerTokens(wanted) : 0;
  for (size_t i = 0; i < nodes_.size(); ++i) {
    const Node& node = nodes_[i];
    ReplicaView& view = views[i];
    const ModelFigures* model =
        node.figures ? Find(*node.figures, wanted.model, wanted.version, wanted.signature)
                     : nullptr;
    if (model == nullptr || (i < not_these.size() && not_these[i]) || Suspect(i, now_s)) {
      view.suspect = true;
      continue;
    }
    const double work =
        WorkOf(*model, static_cast<double>(wanted.rows), static_cast<double>(wanted.prompt_tokens));
    works[i] = work;
    view.capacity = node.figures->cores;
    view.load_s = node.figures->backlog_s;
    view.backlog_s = node.backlog.At(now_s);
    view.outstanding_s = node.outstanding_s;
    view.service_s = std::max(model->alone_s, work / node.figures->cores);
    view.forward_s = i == 0 ? 0 : node.round_trip_s;
    if (model->language && wanted.rows > 0 && !model->step_s.empty()) {
      TellSequenceCost(node, *model, wanted, answer_tokens, &view);
      longest_s = std::max(longest_s, view.service_s);
    }
    const double row_s = WorkOf(*model, 1);
    dearest = std::max(dearest, row_s);
    if (work <= 0) unmeasured.push_back(i);
    view.weight = row_s > 0 ? node.figures->cores / row_s : 0;
    fastest = std::max(fastest, view.weight);
    view.suspect = node.doubt;
    if (node.doubt) doubtful.push_back(i);
  }
  // As if nothing took any time there it would get all that comes until it tells of the first: it is taken for the slowest one.
  for (const size_t i : unmeasured) {
    works[i] = (dearest > 0 ? dearest : kUnmeasuredRow) * static_cast<double>(wanted.rows);
    views[i].service_s = std::max({views[i].service_s, works[i] / views[i].capacity, longest_s});
  }
  // Turns by what was measured; of each model alike, for all of them share the turns.
  for (ReplicaView& view : views) view.weight /= fastest;
  Choice choice;
  choice.node = router_.Choose(views);
  if (choice.node < 0 && !doubtful.empty()) {
    for (const size_t i : doubtful) views[i].suspect = false;
    choice.node = router_.Choose(views);
  }
  if (choice.node < 0) return choice;
  const auto at = static_cast<size_t>(choice.node);
  choice.work_s = works[at];
  const ModelFigures& chosen =
      *Find(*nodes_[at].figures, wanted.model, wanted.version, wanted.signature);
  if (chosen.language && wanted.rows > 0) {
    choice.model = chosen.name;
    choice.sequences = std::max(1, wanted.choices);
    nodes_[at].sequences[chosen.name].under_way += choice.sequences;
  }
  choice.version = chosen.version;
  nodes_[at].backlog.OnSent(works[at], now_s, 1);
  nodes_[at].outstanding_s += works[at];
  ++nodes_[at].outstanding;
  ++nodes_[at].sent;
  return choice;
}

void ReplicaTable::Ended(const Choice& choice) {
  Node& node = nodes_[static_cast<size_t>(choice.node)];
  --node.outstanding;
  if (const auto of = node.sequences.find(choice.model); of != node.sequences.end())
    of->second.under_way = std::max(0, of->second.under_way - choice.sequences);
  // Sums of many small numbers drift: at rest it is none.
  node.outstanding_s =
      node.outstanding == 0 ? 0 : std::max(0.0, node.outstanding_s - choice.work_s);
}

const ModelFigures* ReplicaTable::Known(std::string_view model, std::string_view version) const {
  for (const Node& node : nodes_) {
    if (!node.figures) continue;
    if (const ModelFigures* found = Find(*node.figures, model, version, 0)) return found;
  }
  return nullptr;
}

std::vector<ReplicaTable::NodeView> ReplicaTable::Look(double now_s) const {
  std::vector<NodeView> views;
  for (size_t i = 0; i < nodes_.size(); ++i) {
    const Node& node = nodes_[i];
    NodeView view;
    view.name = node.name;
    view.suspect = Suspect(i, now_s);
    view.known = node.figures.has_value();
    view.failed = Failed(node);
    view.gone = node.gone;
    view.age_s = view.known ? now_s - node.made_s : 0;
    view.silent_s = view.known ? now_s - node.answered_s : 0;
    view.backlog_s = node.backlog.At(now_s);
    view.outstanding_s = node.outstanding_s;
    view.round_trip_s = node.round_trip_s;
    view.bytes_per_s = node.bytes_per_s;
    view.outstanding = node.outstanding;
    view.sent = node.sent;
    if (node.figures) view.figures = *node.figures;
    views.push_back(std::move(view));
  }
  return views;
}

}  // namespace evenkeel
