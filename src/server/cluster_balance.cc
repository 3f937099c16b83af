#include "server/cluster_balance.h"

#include <algorithm>
#include <limits>
#include <string>
#include <utility>

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

// Sequences that may leave for another node, one after the other: as many as each cost less there than here.
struct Leaving {
  int count = 0;      // that are here and may go
  double beside = 0;  // of the model, here, without the first of them
  double tokens = 0, prompt_here = 0, prompt_there = 0;  // that are left to compute of each
};

// Level loads are not all that counts: a slower node's steps take longer however idle it is. By node; all where nobody knows what steps take.
std::vector<int64_t> MostThatGain(const std::vector<ReplicaTable::NodeView>& views,
                                  const ModelFigures& own, const Leaving& leaving) {
  std::vector<int64_t> most(views.size(), leaving.count);
  for (size_t i = 1; i < views.size() && !own.step_s.empty(); ++i) {
    const auto at = std::ranges::find(views[i].figures.models, own.name, &ModelFigures::name);
    if (at == views[i].figures.models.end() || at->step_s.empty()) continue;
    int64_t gain = 0;
    while (gain < leaving.count) {
      const auto gone = static_cast<double>(gain);
      const double here =
          CostOfSequence(own, leaving.beside - gone, leaving.tokens, leaving.prompt_here).total_s();
      const double there =
          views[i].round_trip_s +
          CostOfSequence(*at, at->open + gone, leaving.tokens, leaving.prompt_there).total_s();
      if (there >= here) break;
      ++gain;
    }
    most[i] = gain;
  }
  return most;
}

// What waits of a language model, and what runs of it.
void AddLanguage(const LlmModel& model, const std::vector<ReplicaTable::NodeView>& views,
                 std::vector<Rebalancer::Queue>* queues) {
  const LlmModel::View view = model.Look();
  const policy::LlmForecast& forecast = view.tuning.forecast;
  const double tokens = forecast.answer_tokens > 0 ? forecast.answer_tokens : kAnswerTokens;
  double unused = 0;
  const ModelFigures own = FiguresOf(model, &unused);
  const int running = std::min(own.open, own.slots);
  Rebalancer::Queue waits{.model = own.name,
                          .rows = own.open - running,
                          .row_s = WorkOf(own, tokens, forecast.prompt_tokens),
                          .there_s = WorkThere(views, own.name, tokens, forecast.prompt_tokens),
                          .most = MostThatGain(views, own,
                                               {.count = own.open - running,
                                                .beside = own.open - 1.0,
                                                .tokens = tokens,
                                                .prompt_here = forecast.prompt_tokens,
                                                .prompt_there = forecast.prompt_tokens})};
  // Half of an answer is left, on the average; its prompt and the other half are computed again.
  const double again = forecast.prompt_tokens + tokens / 2;
  Rebalancer::Queue runs{.model = own.name,
                         .rows = running,
                         .row_s = WorkOf(own, tokens / 2),
                         .kind = MovableKind::kSequence,
                         .move_s = WorkOf(own, 0, again),
                         .there_s = WorkThere(views, own.name, tokens / 2, 0),
                         .most = MostThatGain(views, own,
                                              {.count = running,
                                               .beside = running - 1.0,
                                               .tokens = tokens / 2,
                                               .prompt_here = 0,
                                               .prompt_there = again})};
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
