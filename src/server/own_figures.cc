#include "server/own_figures.h"

#include <algorithm>

#include "cluster/link/infer_message.h"
#include "server/describe.h"

namespace evenkeel {

ModelFigures FiguresOf(const ModelVersion& model, const Dispatcher::Work& work, Time now) {
  ModelFigures figures;
  figures.name = model.name();
  figures.version = model.version();
  figures.row_s = work.row_s;
  figures.late_row_s = work.late_row_s;
  figures.alone_s = work.alone_s;
  figures.signature = DigestOf(model.signature());
  figures.rate_rps = model.RowsPerSecond(now);
  const auto instances = model.InstancesNow();
  figures.memory_bytes = instances.memory_bytes * std::max(1, instances.up);
  figures.done = work.rows;
  figures.start_up_s = Seconds(instances.start_up);
  figures.waiting = static_cast<int>(std::min<int64_t>(work.waiting_rows, 1'000'000'000));
  return figures;
}

uint64_t DigestOf(const LanguageModelInfo& info) {
  // For what must be equal for two nodes' answers to be the same model's.
  Signature stands;
  TensorSpec& spec = stands.inputs.emplace_back();
  spec.name = info.architecture;
  spec.dtype = DataType::kBytes;
  spec.shape = {info.vocabulary, info.vector_size};
  // What is described once is described for all of a digest: one that ranks is not one that embeds, and no other model.
  TensorSpec& does = stands.outputs.emplace_back();
  does.name = info.name;
  does.dtype = DataType::kBytes;
  does.shape = {info.generates, info.chat, info.embeddings, info.ranks};
  return DigestOf(stands);
}

// A language model's figures; its work is added to `backlog_s`.
ModelFigures FiguresOf(const LlmModel& model, double* backlog_s) {
  const LlmModel::View view = model.Look();
  const policy::LlmChoice& choice = view.tuning.choice;
  ModelFigures figures;
  const LanguageModelInfo info = model.Info();
  figures.name = info.name;
  figures.version = "1";
  figures.language = true;
  figures.signature = DigestOf(info);
  figures.slots = std::max(1, view.tuning.running);
  figures.open = view.sequences;
  figures.rate_rps = view.tuning.forecast.arrivals_s;
  // With the weights, which llama.cpp maps: they have to fit where the model is brought, and are what is copied there.
  figures.memory_bytes =
      view.engine.pid > 0 ? static_cast<int64_t>(ResidentBytes(view.engine.pid)) : 0;
  const int threads = std::max(1, view.tuning.threads);
  figures.row_s = choice.step_s * threads / std::max(1, choice.slots);
  figures.alone_s = choice.step_s;
  figures.prompt_token_s = choice.prompt_token_s * threads;
  figures.step_s = view.tuning.step_s;
  figures.prompt_s = view.tuning.prompt_s;
  figures.answer_tokens = view.tuning.forecast.answer_tokens;
  figures.late_row_s = view.tuning.late_token_s * threads;
  const double tokens = figures.answer_tokens > 0 ? figures.answer_tokens : kAnswerTokens;
  figures.waiting = std::max(0, figures.open - figures.slots);
  figures.done = view.engine.answer_tokens + view.engine.prompt_tokens + view.engine.text_tokens;
  figures.call_rows = tokens;
  if (figures.row_s > 0)
    figures.call_rows +=
        view.tuning.forecast.prompt_tokens * figures.prompt_token_s / figures.row_s;
  *backlog_s += BacklogOf(figures);
  return figures;
}

std::vector<ModelFigures> GraphsOf(const ModelRegistry& registry) {
  std::vector<ModelFigures> graphs;
  for (const auto& graph : registry.Ensembles()) {
    // One whose steps have no models is no answer to any call.
    if (!graph->Ready().ok()) continue;
    ModelFigures& one = graphs.emplace_back();
    one.name = graph->name();
    one.version = graph->version();
    one.signature = DigestOf(graph->signature());
  }
  return graphs;
}

void AddOwnModels(const ModelRegistry& registry, Time now, NodeFigures* figures) {
  int64_t mapped = 0;
  const auto serving = registry.Serving("", "");
  if (serving.ok()) {
    for (const auto& model : *serving) {
      const Dispatcher::Work work = model->WorkNow(now);
      figures->backlog_s += work.backlog_s;
      if (model->available()) figures->models.push_back(FiguresOf(*model, work, now));
    }
  }
  for (const auto& model : registry.Languages()) {
    const ModelFigures one = FiguresOf(*model, &figures->backlog_s);
    if (model->available()) figures->models.push_back(one);
    if (const pid_t worker = model->Look().engine.pid; worker > 0)
      mapped += static_cast<int64_t>(MappedBytes(worker));
  }
  // The kernel counts mapped weights as available (MemAvailable); who gives them to another model reads them from the disk with each step. 0 would be "not known".
  if (figures->free_memory_bytes > 0)
    figures->free_memory_bytes = std::max<int64_t>(1, figures->free_memory_bytes - mapped);
}

}  // namespace evenkeel
