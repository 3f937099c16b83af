#include "server/metrics_language.h"

#include "core/status.h"
#include "server/metric_families.h"

namespace evenkeel {
namespace {

using prometheus::MetricType;

struct One {
  std::string name;
  LlmModel::View view;
};

struct ValueRow {
  const char* name;
  const char* help;
  MetricType type;
  double (*value)(const LlmModel::View&);
};

constexpr ValueRow kValues[] = {
    {"evenkeel_llm_prompt_tokens_total", "Prompt tokens computed", MetricType::Counter,
     [](const LlmModel::View& v) { return static_cast<double>(v.engine.prompt_tokens); }},
    {"evenkeel_llm_cached_tokens_total", "Prompt tokens taken from sequences before",
     MetricType::Counter,
     [](const LlmModel::View& v) { return static_cast<double>(v.figures.cached_tokens); }},
    {"evenkeel_llm_output_tokens_total", "Tokens answered", MetricType::Counter,
     [](const LlmModel::View& v) { return static_cast<double>(v.engine.answer_tokens); }},
    {"evenkeel_llm_steps_total", "Steps of the engine", MetricType::Counter,
     [](const LlmModel::View& v) { return static_cast<double>(v.engine.steps); }},
    {"evenkeel_llm_step_seconds_total", "Time in steps", MetricType::Counter,
     [](const LlmModel::View& v) { return Seconds(v.engine.busy); }},
    {"evenkeel_llm_sequences_running", "Sequences in the engine's steps", MetricType::Gauge,
     [](const LlmModel::View& v) { return static_cast<double>(v.engine.step.running); }},
    {"evenkeel_llm_sequences_waiting", "Sequences that wait for cells or a slot", MetricType::Gauge,
     [](const LlmModel::View& v) { return static_cast<double>(v.engine.step.waiting); }},
    {"evenkeel_llm_cells", "Tokens that the cache holds at most", MetricType::Gauge,
     [](const LlmModel::View& v) { return static_cast<double>(v.loaded.cells); }},
    {"evenkeel_llm_cells_booked", "Of these, spoken for", MetricType::Gauge,
     [](const LlmModel::View& v) { return static_cast<double>(v.engine.step.cells_booked); }},
    {"evenkeel_llm_text_tokens_total", "Tokens of texts that became vectors or scores",
     MetricType::Counter,
     [](const LlmModel::View& v) { return static_cast<double>(v.engine.text_tokens); }},
    {"evenkeel_llm_text_steps_total", "Steps of the engine over texts", MetricType::Counter,
     [](const LlmModel::View& v) { return static_cast<double>(v.engine.text_steps); }},
    {"evenkeel_llm_text_step_seconds_total", "Time in steps over texts", MetricType::Counter,
     [](const LlmModel::View& v) { return Seconds(v.engine.text_busy); }},
    {"evenkeel_llm_texts_running", "Texts in the engine's steps", MetricType::Gauge,
     [](const LlmModel::View& v) { return static_cast<double>(v.engine.texts.running); }},
    {"evenkeel_llm_texts_waiting", "Texts that wait in the worker", MetricType::Gauge,
     [](const LlmModel::View& v) { return static_cast<double>(v.engine.texts.waiting); }},
    {"evenkeel_llm_text_memory_bytes", "Memory that the worker has for texts", MetricType::Gauge,
     [](const LlmModel::View& v) { return static_cast<double>(v.engine.texts.bytes); }},
    {"evenkeel_llm_threads", "Of a step, as the node lends them", MetricType::Gauge,
     [](const LlmModel::View& v) { return static_cast<double>(v.tuning.threads); }},
    {"evenkeel_llm_slots", "Sequences side by side at most, as chosen", MetricType::Gauge,
     [](const LlmModel::View& v) { return static_cast<double>(v.tuning.choice.slots); }},
    {"evenkeel_llm_prompt_share",
     "Of the budget of prompts beside answers: above 1 while first tokens are late",
     MetricType::Gauge, [](const LlmModel::View& v) { return v.tuning.prompt_share; }},
    {"evenkeel_llm_forecast_sequences_per_second", "Sequences expected in the next interval",
     MetricType::Gauge, [](const LlmModel::View& v) { return v.tuning.forecast.arrivals_s; }},
    {"evenkeel_llm_table_rows", "Rows of the load table", MetricType::Gauge,
     [](const LlmModel::View& v) {
       return static_cast<double>(v.tuning.kept.table.rows().size());
     }},
    {"evenkeel_llm_drift_ratio", "Live step times over those of the load table", MetricType::Gauge,
     [](const LlmModel::View& v) { return v.tuning.drift_ratio; }},
    {"evenkeel_llm_worker_restarts_total", "Workers that ended and were started again",
     MetricType::Counter,
     [](const LlmModel::View& v) { return static_cast<double>(v.engine.restarts); }},
    {"evenkeel_llm_prompt_process_restarts_total", "Prompt processes that were started again",
     MetricType::Counter,
     [](const LlmModel::View& v) { return static_cast<double>(v.prompt_restarts); }},
};

void AddHistogram(const std::vector<One>& models, const char* name, const char* help,
                  Histogram LlmFigures::*member, MetricFamilies* families) {
  auto& family = families->Add(name, help, MetricType::Histogram);
  for (const One& model : models)
    MetricFamilies::Value(family, {{"model", model.name}}, model.view.figures.*member);
}

}  // namespace

std::string RenderLanguageMetrics(const std::vector<std::shared_ptr<LlmModel>>& served) {
  if (served.empty()) return {};
  std::vector<One> models;
  for (const auto& model : served) models.push_back({model->options().name, model->Look()});
  MetricFamilies families;
  auto& requests =
      families.Add("evenkeel_llm_requests_total", "Calls by how they ended", MetricType::Counter);
  for (const One& model : models) {
    for (int code = 0; code < kCodeCount; ++code) {
      const uint64_t count = model.view.figures.ends[static_cast<size_t>(code)];
      if (count == 0 && code != 0) continue;
      MetricFamilies::Value(
          requests,
          {{"model", model.name}, {"code", std::string(InfoOf(static_cast<Code>(code)).name)}},
          static_cast<double>(count));
    }
  }
  AddHistogram(models, "evenkeel_llm_time_to_first_token_seconds", "Arrival to first token",
               &LlmFigures::first_token, &families);
  AddHistogram(models, "evenkeel_llm_inter_token_seconds", "One token of an answer to the next",
               &LlmFigures::inter_token, &families);
  for (const ValueRow& row : kValues) {
    auto& family = families.Add(row.name, row.help, row.type);
    for (const One& model : models)
      MetricFamilies::Value(family, {{"model", model.name}}, row.value(model.view));
  }
  return families.Render();
}

}  // namespace evenkeel
