#include "server/describe_language.h"

#include <nlohmann/json.hpp>

#include "server/describe.h"

namespace evenkeel {

namespace {

nlohmann::json Milliseconds(const std::optional<Duration>& duration) {
  return duration ? nlohmann::json(Seconds(*duration) * 1e3) : nlohmann::json();
}

// What it runs on, each with the line that says why.
nlohmann::json ChoiceToJson(const LlmOptions& options, const LlmTuner::View& tuning) {
  const policy::LlmChoice& choice = tuning.choice;
  return {{"threads", choice.threads},
          {"least_threads", choice.least_threads},
          {"threads_why", choice.threads_why},
          {"threads_granted", tuning.threads},
          {"threads_held", tuning.held},
          {"sequences", choice.slots},
          {"sequences_why", choice.slots_why},
          {"sequences_expected", choice.expected},
          {"cells", choice.cells},
          {"cells_now", tuning.cells},
          {"cells_why", choice.cells_why},
          {"step_ms", choice.step_s * 1e3},
          {"prompt_token_ms", choice.prompt_token_s * 1e3},
          {"budget_why", choice.budget_why},
          {"prompt_share", tuning.prompt_share},
          {"first_token_over_objective", tuning.first_token_late},
          {"inter_token_over_objective", tuning.inter_token_late},
          {"first_token_objective_ms", Milliseconds(options.stated_first_token)},
          {"inter_token_objective_ms", Milliseconds(options.stated_inter_token)},
          {"table", tuning.table_from},
          {"measuring", tuning.measuring},
          {"drift_ratio", tuning.drift_ratio}};
}

nlohmann::json ForecastToJson(const policy::LlmForecast& forecast) {
  return {{"sequences_per_s", forecast.arrivals_s},
          {"prompt_tokens", forecast.prompt_tokens},
          {"answer_tokens", forecast.answer_tokens},
          {"sequence_tokens_p90", forecast.long_sequence}};
}

}  // namespace

nlohmann::json DescribeLanguageBatching(const LlmModel& model) {
  const LlmModel::View view = model.Look();
  const LlmOptions& options = model.options();
  return {{"schema", "evenkeel.batching/v1"},
          {"model", options.name},
          {"version", "1"},
          {"policy", "steps"},
          {"objective_ms", Seconds(options.inter_token) * 1e3},
          {"queue_rows", view.engine.step.waiting},
          {"choice", ChoiceToJson(options, view.tuning)},
          {"forecast", ForecastToJson(view.tuning.forecast)},
          {"load_table", ToJson(view.tuning.kept.table, view.tuning.kept.chosen)}};
}

nlohmann::json DescribeLanguage(const LlmModel& model) {
  const LlmModel::View view = model.Look();
  const LlmOptions& options = model.options();
  const auto& engine = view.engine;
  uint64_t calls = 0;
  for (const uint64_t count : view.figures.ends) calls += count;
  const auto process = [&](pid_t pid, const std::string& state, uint64_t restarts,
                           const std::string& last_end, const std::string& shape) {
    return nlohmann::json{{"pid", pid},
                          {"state", state},
                          {"rss_bytes", pid > 0 ? ResidentBytes(pid) : 0},
                          {"restarts", restarts},
                          {"last_end", last_end},
                          {"shape", shape},
                          {"threads", view.tuning.choice.threads},
                          {"device", "CPU"}};
  };
  nlohmann::json json = {{"name", options.name},
                         {"version", "1"},
                         {"kind", "language"},
                         {"engine", "llamacpp"},
                         {"engine_info", nlohmann::json::parse(view.loaded.facts, nullptr, false)},
                         {"class", "cpu"},
                         {"device", "CPU"},
                         {"precision", "as stored"},
                         {"max_batch", view.tuning.choice.slots},
                         {"policy", "steps"},
                         {"objective_ms", Seconds(options.inter_token) * 1e3},
                         {"queue_rows", engine.step.waiting},
                         {"requests", calls},
                         {"errors", calls - view.figures.ends[static_cast<size_t>(Code::kOk)]},
                         {"at_rest", false},
                         {"batch_time_ms", nlohmann::json::object()},
                         {"inputs", nlohmann::json::array()},
                         {"outputs", nlohmann::json::array()},
                         {"settings_from", ""},
                         {"recent_batches", nlohmann::json::array()}};
  json["instances"] = nlohmann::json::array();
  json["instances"].push_back(
      process(engine.pid, engine.state, engine.restarts, engine.last_end, view.tuning.container));
  json["scale"] = {{"wanted", 1},
                   {"up", engine.state == "ready" ? 1 : 0},
                   {"why", "a language model has one worker"},
                   {"min", 1},
                   {"keep_alive_s", 0},
                   {"starts", engine.restarts + 1},
                   {"restarts", engine.restarts}};
  json["choice"] = ChoiceToJson(options, view.tuning);
  json["language"] = {
      {"context", view.loaded.context},
      {"slots", view.loaded.slots},
      {"cells", view.loaded.cells},
      {"cells_booked", engine.step.cells_booked},
      {"cells_held", engine.step.cells_held},
      {"vocabulary", view.loaded.vocabulary},
      {"architecture", view.loaded.architecture},
      {"chat_template", view.loaded.chat},
      {"running", engine.step.running},
      {"waiting", engine.step.waiting},
      {"open_calls", view.open},
      {"steps", engine.steps},
      {"prompt_tokens", engine.prompt_tokens},
      {"answer_tokens", engine.answer_tokens},
      {"busy_s", Seconds(engine.busy)},
      {"generates", view.loaded.generates()},
      {"pooling", NameOf(view.loaded.pooling)},
      {"vector_size", view.loaded.vector_size},
      {"texts_running", engine.texts.running},
      {"texts_waiting", engine.texts.waiting},
      {"text_steps", engine.text_steps},
      {"text_tokens", engine.text_tokens},
      {"text_busy_s", Seconds(engine.text_busy)},
      {"text_memory_bytes", engine.texts.bytes},
      {"answer_s", view.answer_s},
      {"prompt_process", {{"pid", view.prompt_pid}, {"restarts", view.prompt_restarts}}}};
  return json;
}

}  // namespace evenkeel
