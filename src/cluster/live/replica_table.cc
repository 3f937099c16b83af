#include "cluster/live/replica_table.h"

#include <algorithm>
#include <span>
#include <utility>

namespace evenkeel {
namespace {

// Seconds of a row on the fastest cores where no node has measured any: what counts is how they compare.
constexpr double kUnmeasuredRow = 0.01;

// Of a call of a graph on the node that runs its steps: they are work where their models are, and are booked there.
constexpr double kGraph = 1e-6;

// Operations a second of one of its cores, as the node measured them; 0: it has not.
double SpeedOf(const NodeFigures& figures) {
  return figures.resources.gflops / std::max(figures.cores, 1e-3);
}

// The figures of the newest version that is meant.
const ModelFigures* Find(std::span<const ModelFigures> models, std::string_view model,
                         std::string_view version, uint64_t signature) {
  const ModelFigures* found = nullptr;
  for (const ModelFigures& one : models) {
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
  for (auto& [model, sequences] : known.sequences) sequences.OnFigures(made_s);
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

struct ReplicaTable::Candidates {
  std::vector<const ModelFigures*> models;  // by node; null: the call can't go there
  std::vector<ReplicaView> views;
  std::vector<double> works;  // 0: nothing of it was measured there
  std::vector<size_t> doubtful;
};

ReplicaTable::Candidates ReplicaTable::CandidatesFor(const Wanted& wanted,
                                                     const std::vector<bool>& not_these,
                                                     double now_s) const {
  Candidates found{.models = std::vector<const ModelFigures*>(nodes_.size()),
                   .views = std::vector<ReplicaView>(nodes_.size()),
                   .works = std::vector<double>(nodes_.size(), 0),
                   .doubtful = {}};
  for (size_t i = 0; i < nodes_.size(); ++i) {
    const Node& node = nodes_[i];
    ReplicaView& view = found.views[i];
    const ModelFigures* model = nullptr;
    if (node.figures)
      model = Find(wanted.graph ? node.figures->graphs : node.figures->models, wanted.model,
                   wanted.version, wanted.signature);
    if (model == nullptr || (i < not_these.size() && not_these[i]) || Suspect(i, now_s)) {
      view.suspect = true;
      continue;
    }
    found.models[i] = model;
    view.capacity = node.figures->cores;
    view.load_s = node.figures->backlog_s;
    view.backlog_s = node.backlog.At(now_s);
    view.outstanding_s = node.outstanding_s;
    view.forward_s = i == 0 ? 0 : node.round_trip_s;
    view.suspect = node.doubt;
    if (node.doubt) found.doubtful.push_back(i);
  }
  return found;
}

// Who asks for much, or leaves it open, does not get it all: at most the mean of what answers take where they are counted.
double ReplicaTable::AnswerTokens(const Wanted& wanted, const Candidates& candidates) {
  const double asked = static_cast<double>(wanted.rows) / std::max(1, wanted.choices);
  double tokens = 0, answers = 0;
  for (const ModelFigures* model : candidates.models) {
    if (model == nullptr || model->answer_tokens <= 0) continue;
    const double weight = std::max(model->rate_rps, 1e-6);
    tokens += weight * model->answer_tokens;
    answers += weight;
  }
  return std::min(asked, answers > 0 ? std::max(1.0, tokens / answers) : kAnswerTokens);
}

void ReplicaTable::TellSequences(const Wanted& wanted, double answer_tokens,
                                 Candidates* candidates) const {
  // One that has measured nothing is taken for the slowest that has.
  const ModelFigures* slowest = nullptr;
  for (size_t i = 0; i < nodes_.size(); ++i) {
    const ModelFigures* model = candidates->models[i];
    if (model == nullptr || (model->step_s.empty() && model->row_s <= 0)) continue;
    if (model->step_s.empty()) return;  // a version before: all by their backlogs
    if (slowest == nullptr || model->step_s.front() > slowest->step_s.front()) slowest = model;
  }
  if (slowest == nullptr) return;
  for (size_t i = 0; i < nodes_.size(); ++i) {
    const ModelFigures* model = candidates->models[i];
    if (model == nullptr) continue;
    const Node& node = nodes_[i];
    const auto own = node.sequences.find(model->name);
    const double open = own == node.sequences.end() ? model->open : own->second.Now(model->open);
    const ModelFigures& takes = model->step_s.empty() ? *slowest : *model;
    SequenceCost cost = CostOfSequence(takes, open + wanted.choices - 1, answer_tokens,
                                       static_cast<double>(wanted.prompt_tokens));
    // What else there is to do shares the cores: it delays an answer by no more than what that takes itself.
    const double other_s = std::max(0.0, node.figures->backlog_s - BacklogOf(*model));
    cost.wait_s += std::min(other_s / std::max(node.figures->cores, 1e-3), cost.service_s);
    candidates->views[i].sequence = cost;
  }
}

ReplicaTable::Choice ReplicaTable::Choose(const Wanted& wanted, const std::vector<bool>& not_these,
                                          double now_s) {
  Candidates candidates = CandidatesFor(wanted, not_these, now_s);
  double rows = static_cast<double>(wanted.rows);
  bool sequences = false;
  for (const ModelFigures* model : candidates.models)
    sequences = sequences || (model != nullptr && model->language && rows > 0);
  const double answer_tokens = sequences ? AnswerTokens(wanted, candidates) : 0;
  if (sequences) rows = answer_tokens * std::max(1, wanted.choices);
  double fastest = 1e-9;  // rows a second
  double dearest = 0;     // work of a row, of those that are known
  double speed = 0;       // of the node with the fastest cores
  for (size_t i = 0; i < nodes_.size(); ++i) {
    const ModelFigures* model = candidates.models[i];
    if (model == nullptr) continue;
    ReplicaView& view = candidates.views[i];
    candidates.works[i] = WorkOf(*model, rows, static_cast<double>(wanted.prompt_tokens));
    view.service_s = std::max(model->alone_s, candidates.works[i] / view.capacity);
    const double row_s = WorkOf(*model, 1);
    dearest = std::max(dearest, row_s);
    speed = std::max(speed, SpeedOf(*nodes_[i].figures));
    view.weight = row_s > 0 ? view.capacity / row_s : 0;
    fastest = std::max(fastest, view.weight);
  }
  if (sequences) TellSequences(wanted, answer_tokens, &candidates);
  for (size_t i = 0; i < nodes_.size(); ++i) {
    ReplicaView& view = candidates.views[i];
    // Turns by what was measured; of each model alike, for all of them share the turns.
    view.weight /= fastest;
    // As if nothing took any time there it would get all that comes until it tells of the first: it is taken for the slowest one.
    if (candidates.models[i] == nullptr || candidates.works[i] > 0) continue;
    // Where nobody has measured any, what the nodes measured of themselves says how they compare.
    const double own = SpeedOf(*nodes_[i].figures);
    const double slowness = own > 0 ? speed / own : 1;
    candidates.works[i] = (dearest > 0 ? dearest : kUnmeasuredRow * slowness) * rows;
    if (wanted.graph) candidates.works[i] = kGraph;
    view.service_s = std::max(view.service_s, candidates.works[i] / view.capacity);
  }
  Choice choice;
  choice.node = router_.Choose(candidates.views);
  if (choice.node < 0 && !candidates.doubtful.empty()) {
    for (const size_t i : candidates.doubtful) candidates.views[i].suspect = false;
    choice.node = router_.Choose(candidates.views);
  }
  if (choice.node < 0) return choice;
  const auto at = static_cast<size_t>(choice.node);
  Node& node = nodes_[at];
  choice.work_s = candidates.works[at];
  choice.version = candidates.models[at]->version;
  if (sequences) {
    choice.model = candidates.models[at]->name;
    choice.sequences = std::max(1, wanted.choices);
    node.sequences[choice.model].Change(choice.sequences, now_s);
  }
  node.backlog.OnSent(choice.work_s, now_s, 1);
  node.outstanding_s += choice.work_s;
  ++node.outstanding;
  ++node.sent;
  return choice;
}

void ReplicaTable::Ended(const Choice& choice, double now_s) {
  Node& node = nodes_[static_cast<size_t>(choice.node)];
  --node.outstanding;
  if (const auto of = node.sequences.find(choice.model); of != node.sequences.end())
    of->second.Change(-choice.sequences, now_s);
  // Sums of many small numbers drift: at rest it is none.
  node.outstanding_s =
      node.outstanding == 0 ? 0 : std::max(0.0, node.outstanding_s - choice.work_s);
}

const ModelFigures* ReplicaTable::Known(std::string_view model, std::string_view version) const {
  for (const Node& node : nodes_) {
    if (!node.figures) continue;
    if (const ModelFigures* found = Find(node.figures->models, model, version, 0)) return found;
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
