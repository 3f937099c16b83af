#include "server/cluster_balance.h"

#include <algorithm>
#include <limits>
#include <optional>
#include <string>
#include <utility>

#include "cluster/policy/sequence_cost.h"
#include "core/format.h"
#include "server/own_figures.h"

namespace evenkeel {
namespace {

// By node: what a row, or a call, of the model takes there; infinite where it is not served.
std::vector<double> WorkThere(const std::vector<ReplicaTable::NodeView>& views,
                              const std::string& model, double tokens, double prompt_tokens) {
  std::vector<double> there;
  for (const auto& view : views) {
    const auto at = std::ranges::find(view.figures.models, model, &ModelFigures::name);
    const double work = at != view.figures.models.end() ? WorkOf(*at, tokens, prompt_tokens) : 0;
    there.push_back(work > 0 ? work : std::numeric_limits<double>::infinity());
  }
  return there;
}

// All that a sequence costs on a node where `open` others of the model run or wait; nullopt: it is not known.
std::optional<double> CostThere(const ReplicaTable::NodeView& view, const ModelFigures& model,
                                double open, double tokens, double prompt_tokens) {
  if (model.step_s.empty()) return std::nullopt;
  const SequenceCost cost =
      CostOfSequence({.steps = model.step_s,
                      .prompt_token_s = model.prompt_token_s / std::max(view.figures.cores, 1e-3),
                      .slots = model.slots,
                      .open = open,
                      .call_rows = model.call_rows},
                     tokens, prompt_tokens);
  return cost.wait_s + cost.service_s + cost.beside_s;
}

// Level loads are not all that counts: steps of a slower node take longer however idle it is. Infinite where one of those that run or wait here would cost more than it does here.
void OnlyWhereItCostsLess(const std::vector<ReplicaTable::NodeView>& views, const ModelFigures& own,
                          double others_here, double tokens, double prompt_here,
                          double prompt_there, std::vector<double>* there_s) {
  const auto here = CostThere(views[0], own, others_here, tokens, prompt_here);
  for (size_t i = 1; here && i < views.size(); ++i) {
    const auto at = std::ranges::find(views[i].figures.models, own.name, &ModelFigures::name);
    if (at == views[i].figures.models.end()) continue;
    const auto there = CostThere(views[i], *at, at->open, tokens, prompt_there);
    if (there && views[i].round_trip_s + *there >= *here)
      (*there_s)[i] = std::numeric_limits<double>::infinity();
  }
}

// What waits of a language model, and what runs of it.
void AddLanguage(const LlmModel& model, const std::vector<ReplicaTable::NodeView>& views,
                 std::vector<Rebalancer::Queue>* queues) {
  const LlmModel::View view = model.Look();
  const policy::LlmForecast& forecast = view.tuning.forecast;
  const double tokens = forecast.answer_tokens > 0 ? forecast.answer_tokens : kAnswerTokens;
  const int running = std::min(view.open, std::max(1, view.tuning.slots));
  double unused = 0;
  const ModelFigures own = FiguresOf(model, &unused);
  Rebalancer::Queue waits{.model = own.name,
                          .rows = view.open - running,
                          .row_s = WorkOf(own, tokens, forecast.prompt_tokens),
                          .there_s = WorkThere(views, own.name, tokens, forecast.prompt_tokens)};
  // Half of an answer is left, on the average; its prompt and the other half are computed again.
  Rebalancer::Queue runs{.model = own.name,
                         .rows = running,
                         .row_s = WorkOf(own, tokens / 2),
                         .kind = MovableKind::kSequence,
                         .move_s = WorkOf(own, 0, forecast.prompt_tokens + tokens / 2),
                         .there_s = WorkThere(views, own.name, tokens / 2, 0)};
  OnlyWhereItCostsLess(views, own, view.open - 1, tokens, forecast.prompt_tokens,
                       forecast.prompt_tokens, &waits.there_s);
  OnlyWhereItCostsLess(views, own, running - 1, tokens / 2, 0, forecast.prompt_tokens + tokens / 2,
                       &runs.there_s);
  queues->push_back(std::move(waits));
  queues->push_back(std::move(runs));
}

}  // namespace

std::vector<Rebalancer::Move> ClusterBalance::Plan(Time now,
                                                   const std::vector<ReplicaTable::NodeView>& views,
                                                   const Models& models,
                                                   const Languages& languages) {
  std::vector<Rebalancer::Node> nodes;
  for (const auto& view : views)
    nodes.push_back({view.backlog_s, std::max(view.figures.cores, 1e-3), view.round_trip_s,
                     view.known && !view.suspect});
  std::vector<Rebalancer::Queue> queues;
  for (const auto& model : models) {
    const Dispatcher::Work work = model->WorkNow(now);
    queues.push_back({.model = model->name(),
                      .rows = work.waiting_rows,
                      .row_s = work.late_row_s > 0 ? work.late_row_s : work.row_s,
                      .there_s = WorkThere(views, model->name(), 1, 0)});
  }
  for (const auto& model : languages) AddLanguage(*model, views, &queues);
  return rebalancer_.Plan(nodes, queues);
}

void ClusterBalance::CountLately(Time now) {
  constexpr Duration kLately = std::chrono::minutes(1);
  while (!recent_.empty() && now - recent_.front().first > kLately) recent_.pop_front();
  int64_t sum = 0;
  for (const auto& [at, count] : recent_) sum += count;
  lately_.store(static_cast<int>(std::min<int64_t>(sum, 1'000'000'000)));
}

void ClusterBalance::Balance(Time now, const std::vector<ReplicaTable::NodeView>& views) {
  if (!Due(now)) return;
  at_ = now +
        std::chrono::duration_cast<Duration>(std::chrono::duration<double>(Rebalancer::kPeriod));
  CountLately(now);
  Models models;
  const auto serving = registry_.Serving("", "");
  if (serving.ok()) models = *serving;
  const auto languages = registry_.Languages();
  for (const Rebalancer::Move& move : Plan(now, views, models, languages)) {
    const auto rows = static_cast<int>(std::min<int64_t>(move.rows, 1'000'000));
    int64_t done = 0;
    // A version after the other gives what is left of the move.
    for (const auto& model : models) {
      if (model->name() == move.model && done < rows)
        done += model->GiveBack(static_cast<int>(rows - done));
    }
    for (const auto& model : languages) {
      if (model->options().name == move.model)
        done += move.kind == MovableKind::kQueued ? model->GiveBack(rows) : model->AskToMove(rows);
    }
    if (done == 0) continue;
    (move.kind == MovableKind::kQueued ? queued_ : sequences_).fetch_add(done);
    recent_.emplace_back(now, done);
    events_.Note(
        fmt::format("{} {} of '{}' {}, most likely to '{}'", done,
                    move.kind == MovableKind::kQueued ? "that wait" : "that run", move.model,
                    move.kind == MovableKind::kQueued ? "given on" : "asked to move",
                    views[static_cast<size_t>(move.to)].name),
        fmt::format("the longer of the two queues gets {:.0f} ms shorter", move.gain_s * 1e3));
  }
}

}  // namespace evenkeel
