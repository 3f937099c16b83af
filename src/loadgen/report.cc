#include "loadgen/report.h"

#include <fmt/format.h>

#include <algorithm>
#include <functional>
#include <nlohmann/json.hpp>
#include <utility>

namespace evenkeel::loadgen {
namespace {

using nlohmann::json;

double Ms(int64_t ns) { return static_cast<double>(ns) / 1e6; }

json Percentiles(const Histogram& h) {
  if (h.count() == 0) return nullptr;
  return {{"min", Ms(h.min())},          {"mean", h.Mean() / 1e6},
          {"p50", Ms(h.Quantile(0.5))},  {"p90", Ms(h.Quantile(0.9))},
          {"p99", Ms(h.Quantile(0.99))}, {"p99.9", Ms(h.Quantile(0.999))},
          {"max", Ms(h.max())}};
}

json ErrorsJson(const Counts& counts) {
  json errors = json::object();
  for (const auto& [status, error] : counts.errors) {
    errors[status] = {
        {"count", error.count},
        // What a server sends back may be any bytes; JSON takes only UTF-8.
        {"first",
         json::parse(
             json(error.first_message).dump(-1, ' ', false, json::error_handler_t::replace))},
        {"latency_ms", Percentiles(error.latency)}};
  }
  return errors;
}

json TokensJson(const TokenCounts& t, double seconds) {
  return {{"prompt", t.prompt},
          {"cached", t.cached},
          {"output", t.output},
          {"output_per_s", seconds > 0 ? static_cast<double>(t.arrived) / seconds : 0.0},
          {"first_ms", Percentiles(t.first)},
          {"inter_ms", Percentiles(t.gaps)}};
}

// `streamed`: answers were streams of tokens.
json CountsJson(const Counts& c, double seconds, bool has_objective, bool streamed) {
  json unanswered = json::object();
  for (int i = 0; i < kNoAnswerCount; ++i) {
    if (const uint64_t n = c.unanswered[static_cast<size_t>(i)]; n > 0)
      unanswered[NameOf(static_cast<NoAnswer>(i))] = n;
  }
  const auto rate = [&](uint64_t n) {
    return seconds > 0 ? static_cast<double>(n) / seconds : 0.0;
  };
  json j = {{"sent", c.sent},
            {"ok", c.ok},
            {"wrong", c.wrong},
            {"errors", c.errors_total()},
            {"unanswered", c.unanswered_total()},
            {"errors_by_status", ErrorsJson(c)},
            {"unanswered_by_reason", unanswered},
            {"requests_per_s", rate(c.ok_arrived)},
            {"latency_ms", Percentiles(c.latency)},
            {"send_lateness_ms", Percentiles(c.lateness)}};
  if (streamed) {
    j["tokens"] = TokensJson(c.tokens, seconds);
  } else {
    j["items_per_s"] = rate(c.ok_rows_arrived);
  }
  if (has_objective) {
    j["goodput_per_s"] = rate(c.good_arrived);
    j["within_objective"] =
        c.sent > 0 ? static_cast<double>(c.good) / static_cast<double>(c.sent) : 0.0;
  }
  if (c.compute.count() > 0) {
    j["compute_ms"] = Percentiles(c.compute);
    j["added_ms"] = Percentiles(c.added);
  }
  return j;
}

json LoadJson(const Stage& stage) {
  if (stage.concurrency > 0) return {{"loop", "closed"}, {"concurrency", stage.concurrency}};
  static constexpr const char* kKinds[] = {"poisson", "constant", "trace"};
  return {{"loop", "open"},
          {"rate_rps", stage.rate_rps},
          {"arrivals", kKinds[static_cast<size_t>(stage.arrivals)]}};
}

json TimelineJson(const LoadPlan& plan, const Tally& tally) {
  json windows = json::array();
  const double width_s = Seconds(plan.window);
  for (size_t i = 0; i < tally.timeline().size(); ++i) {
    const Window& w = tally.timeline()[i];
    windows.push_back({{"t_s", static_cast<double>(i) * width_s},
                       {"sent", w.sent},
                       {"ok", w.ok},
                       {"failed", w.failed},
                       {"unanswered", w.unanswered},
                       {"p50_ms", Ms(w.latency.Quantile(0.5))},
                       {"p99_ms", Ms(w.latency.Quantile(0.99))},
                       {"max_ms", Ms(w.latency.max())}});
  }
  return {{"window_s", width_s}, {"windows", windows}};
}

// Counts of the chosen stages and one model (-1: all).
Counts Sum(const Tally& tally, int stage, int model, const std::vector<StageRecord>& stages,
           bool warm_up) {
  Counts sum;
  for (int s = 0; s < static_cast<int>(stages.size()); ++s) {
    if (stage >= 0 ? s != stage : stages[static_cast<size_t>(s)].stage.warm_up != warm_up) continue;
    for (int m = 0; m < tally.models(); ++m) {
      if (model < 0 || m == model) sum.Merge(tally.counts(s, m));
    }
  }
  return sum;
}

void AddObjectives(const Objectives& objectives, json* to) {
  for (const auto& [name, value] : {std::pair{"objective_ms", objectives.whole},
                                    std::pair{"first_token_objective_ms", objectives.first_token},
                                    std::pair{"inter_token_objective_ms", objectives.inter_token}})
    if (value != Duration::max()) (*to)[name] = Ms(value.count());
}

json ModelsJson(const LoadPlan& plan, const RunRecord& record, int stage, double seconds) {
  json models = json::object();
  for (int m = 0; m < record.tally.models(); ++m) {
    const PreparedModel& model = plan.models[static_cast<size_t>(m)];
    json counts = CountsJson(Sum(record.tally, stage, m, record.stages, false), seconds,
                             model.objectives.any(), plan.streamed);
    AddObjectives(model.objectives, &counts);
    models[model.name] = std::move(counts);
  }
  return models;
}

}  // namespace

json ReportJson(const LoadPlan& plan, const RunRecord& record) {
  // The total has a goodput when every model has an objective, and one objective when it is theirs.
  const std::vector<Objectives> objectives = ObjectivesOf(plan);
  const bool has_objective = std::ranges::all_of(objectives, &Objectives::any);
  json report = {{"schema", "evenkeel.bench/1"},
                 {"target",
                  {{"url", plan.url.Authority() + plan.url.path},
                   {"protocol", plan.protocol == WireProtocol::kHttp ? "http" : "grpc"}}},
                 {"seed", plan.seed},
                 {"threads", plan.threads},
                 {"interrupted", record.interrupted}};
  if (has_objective &&
      std::ranges::adjacent_find(objectives, std::not_equal_to<>()) == objectives.end())
    AddObjectives(objectives.front(), &report);
  double measured_s = 0;
  uint64_t held_back = 0;
  uint64_t not_sent = 0;
  report["stages"] = json::array();
  for (size_t i = 0; i < record.stages.size(); ++i) {
    const StageRecord& s = record.stages[i];
    if (!s.stage.warm_up) {
      measured_s += s.seconds;
      held_back += s.held_back;
      not_sent += s.not_sent;
    }
    json stage = {
        {"name", s.stage.name},
        {"warm_up", s.stage.warm_up},
        {"load", LoadJson(s.stage)},
        {"seconds", s.seconds},
        {"held_back", s.held_back},
        {"not_sent", s.not_sent},
        {"total", CountsJson(Sum(record.tally, static_cast<int>(i), -1, record.stages, false),
                             s.seconds, has_objective, plan.streamed)}};
    if (plan.models.size() > 1)
      stage["models"] = ModelsJson(plan, record, static_cast<int>(i), s.seconds);
    report["stages"].push_back(std::move(stage));
  }
  report["seconds"] = measured_s;
  report["total"] = CountsJson(Sum(record.tally, -1, -1, record.stages, false), measured_s,
                               has_objective, plan.streamed);
  report["models"] = ModelsJson(plan, record, -1, measured_s);
  const Counts warm_up = Sum(record.tally, -1, -1, record.stages, true);
  report["warm_up"] = {{"sent", warm_up.sent},
                       {"ok", warm_up.ok},
                       {"wrong", warm_up.wrong},
                       {"errors", warm_up.errors_total()},
                       {"unanswered", warm_up.unanswered_total()}};
  report["in_flight"] = {{"cap", plan.cap},
                         {"most", record.most_in_flight},
                         {"held_back", held_back},
                         {"not_sent", not_sent}};
  const double cpu_s = record.user_cpu_s + record.system_cpu_s;
  report["client"] = {{"user_s", record.user_cpu_s},
                      {"system_s", record.system_cpu_s},
                      {"cores_used", record.seconds > 0 ? cpu_s / record.seconds : 0},
                      {"wall_s", record.seconds}};
  if (plan.window > Duration::zero()) report["timeline"] = TimelineJson(plan, record.tally);
  return report;
}

}  // namespace evenkeel::loadgen
