#include "server/cluster_feedback.h"

#include <algorithm>
#include <nlohmann/json.hpp>
#include <utility>

#include "core/format.h"

namespace evenkeel {
namespace {

using NodeView = ReplicaTable::NodeView;
using Json = nlohmann::json;

constexpr double kPublishEvery = 5;  // seconds: all costs are copied

double SecondsOf(Time at) { return Seconds(at.time_since_epoch()); }

// "'chat' to 'attic', 'm' to 'desk' and 3 others"
std::string MovesText(const Feedback::Proposal& proposal) {
  constexpr size_t kMost = 3;
  std::string text;
  const auto& moves = proposal.plan.moves;
  for (size_t i = 0; i < std::min(moves.size(), kMost); ++i)
    text += fmt::format("{}'{}' to '{}'", i > 0 ? ", " : "",
                        proposal.tasks[static_cast<size_t>(moves[i].task)],
                        proposal.nodes[static_cast<size_t>(moves[i].node)]);
  if (moves.size() > kMost) text += fmt::format(" and {} others", moves.size() - kMost);
  return text;
}

Json PlanOf(const Feedback::Proposal& proposal) {
  Json placement = Json::object();
  for (const std::string& node : proposal.nodes) placement[node] = Json::array();
  for (size_t task = 0; task < proposal.tasks.size(); ++task) {
    for (const int node : proposal.plan.places[task])
      placement[proposal.nodes[static_cast<size_t>(node)]].push_back(proposal.tasks[task]);
  }
  Json plan = {{"schema", "evenkeel.plan/v1"},      {"rules", "ours"},
               {"placement", std::move(placement)}, {"makespan_s", proposal.plan.planned},
               {"reason", proposal.reason},         {"gain_s", proposal.plan.gain_s},
               {"cost_s", proposal.plan.cost_s}};
  if (!proposal.leaves.empty()) plan["leaves"] = proposal.leaves;
  return plan;
}

bool FirstByName(const std::vector<NodeView>& views) {
  return std::ranges::none_of(views, [&](const NodeView& node) {
    return node.known && !node.suspect && node.name < views.front().name;
  });
}

}  // namespace

void ClusterFeedback::set_apply(Apply apply) {
  const std::lock_guard lock(mutex_);
  apply_ = std::move(apply);
}

void ClusterFeedback::set_leads(Leads leads) {
  const std::lock_guard lock(mutex_);
  leads_ = std::move(leads);
}

void ClusterFeedback::set_hindrance(Hindrance hindrance) {
  const std::lock_guard lock(mutex_);
  hindrance_ = std::move(hindrance);
}

void ClusterFeedback::set_busy(Busy busy) {
  const std::lock_guard lock(mutex_);
  busy_ = std::move(busy);
}

bool ClusterFeedback::IsBusy() const {
  Busy busy;
  {
    const std::lock_guard lock(mutex_);
    busy = busy_;
  }
  return busy && busy();
}

void ClusterFeedback::Look(Time now, std::vector<NodeView> views) {
  if (!Due(now)) return;
  at_ =
      now + std::chrono::duration_cast<Duration>(std::chrono::duration<double>(Feedback::kPeriod));
  if (!thread_ || views.empty() || looking_.exchange(true)) return;
  thread_->Post([this, now_s = SecondsOf(now), views = std::move(views)] {
    LookNow(now_s, views);
    looking_.store(false);
  });
}

void ClusterFeedback::LookNow(double now_s, const std::vector<NodeView>& views) {
  auto proposal = feedback_.Look(views, now_s);
  if (proposal && !proposal->leaves.empty() && IsBusy()) {
    // Once that plan has ended, and as much time has passed again.
    feedback_.NotTried();
    proposal.reset();
  }
  std::shared_ptr<Learnt> learnt;
  if (now_s - published_s_ >= kPublishEvery || proposal) {
    published_s_ = now_s;
    learnt = std::make_shared<Learnt>();
    learnt->costs = feedback_.costs();
    for (const NodeView& node : views) {
      for (const ModelFigures& model : node.figures.models)
        learnt->rates.emplace(model.name, feedback_.RateOf(model.name));
    }
    learnt->at_s = now_s;
  }
  {
    const std::lock_guard lock(mutex_);
    if (learnt) learnt_ = std::move(learnt);
    asking_ = feedback_.asking();
    passed_over_ = feedback_.passed_over();
    if (proposal) last_ = proposal;
  }
  if (!proposal || Propose(*proposal, views)) return;
  if (proposal->restores || !proposal->leaves.empty()) feedback_.NotTried();
}

void ClusterFeedback::Note(const Feedback::Proposal& proposal, const std::string& what_then) {
  if (!proposal.leaves.empty()) {
    events_.Note("a replica beyond what was asked for is not needed any more: " + what_then,
                 proposal.reason);
    return;
  }
  const Replan& plan = proposal.plan;
  const std::string what = proposal.restores ? "replicas that were asked for are missing"
                                             : fmt::format("a new plan would serve {:.3g} s sooner",
                                                           plan.gain_s - plan.cost_s);
  events_.Note(
      fmt::format("{}: {}", what, what_then),
      fmt::format("{}; {} move{} ({}) cost {:.3g} s and take the busiest node from {:.3g} to "
                  "{:.3g} s of work a second, which is {:.3g} s in {:.0f} s",
                  proposal.reason, plan.moves.size(), plan.moves.size() == 1 ? "" : "s",
                  MovesText(proposal), plan.cost_s, plan.present, plan.planned, plan.gain_s,
                  ReplanOptions().horizon_s));
}

bool ClusterFeedback::Propose(const Feedback::Proposal& proposal,
                              const std::vector<NodeView>& views) {
  proposals_.fetch_add(1);
  Apply apply;
  Leads leads;
  Hindrance hindrance;
  {
    const std::lock_guard lock(mutex_);
    apply = apply_;
    leads = leads_;
    hindrance = hindrance_;
  }
  const std::string why_not = automatic_ && hindrance ? hindrance() : std::string();
  const std::optional<bool> elected = leads ? leads() : std::nullopt;
  const bool applies =
      automatic_ && apply && why_not.empty() && elected.value_or(FirstByName(views));
  std::string what_then = "run `evenkeel plan --apply`";
  if (applies) what_then = "it is applied";
  if (!why_not.empty()) what_then = fmt::format("it is not carried out: {}", why_not);
  Note(proposal, what_then);
  // Once: from then on each try has an event of its own, and there are fewer and fewer.
  if (why_not.empty() && proposal.restores && proposal.tries == 2) {
    constexpr double kMinute = 60;
    events_.Note(
        "replicas that are missing were not brought, and are tried again less and less often",
        fmt::format("{}; again in {:.0f} minutes, then after twice as long each time, {:.0f} "
                    "minutes at most, until nodes, models or what was asked for change",
                    proposal.reason, proposal.again_s / kMinute,
                    Feedback::kMostRestoreWait / kMinute));
  }
  if (applies) apply(PlanOf(proposal));
  return why_not.empty();
}

std::shared_ptr<const ClusterFeedback::Learnt> ClusterFeedback::learnt() const {
  const std::lock_guard lock(mutex_);
  return learnt_;
}

Json ClusterFeedback::Document(Time now) const {
  std::optional<Feedback::Proposal> last;
  Json document = {{"proposals", proposals()}, {"replan", automatic_ ? "auto" : "propose"}};
  {
    const std::lock_guard lock(mutex_);
    if (!asking_.empty()) document["asking"] = asking_;
    if (!passed_over_.empty()) document["passed_over"] = passed_over_;
    last = last_;
  }
  if (!last) return document;
  Json moves = Json::array();
  for (const Replan::Bring& move : last->plan.moves)
    moves.push_back({{"model", last->tasks[static_cast<size_t>(move.task)]},
                     {"to", last->nodes[static_cast<size_t>(move.node)]},
                     {"seconds", move.seconds}});
  document["last"] = {{"reason", last->reason},        {"age_s", SecondsOf(now) - last->at_s},
                      {"gain_s", last->plan.gain_s},   {"cost_s", last->plan.cost_s},
                      {"present", last->plan.present}, {"planned", last->plan.planned},
                      {"moves", std::move(moves)}};
  if (!last->leaves.empty()) document["last"]["leaves"] = last->leaves;
  return document;
}

}  // namespace evenkeel
