// What this server has to do and how long its models take, in the terms that nodes of a cluster tell each other.
//
// Units: seconds of one of its own cores. Thread-safety: thread-safe. Source: B1 to B3 with live figures, issue S4.
#pragma once

#include <cstdint>
#include <vector>

#include "cluster/live/node_figures.h"
#include "core/clock.h"
#include "core/generation.h"
#include "llm/llm_model.h"
#include "server/model_registry.h"

namespace evenkeel {

// By what must be equal for two nodes' answers to be the same model's.
uint64_t DigestOf(const LanguageModelInfo& info);

ModelFigures FiguresOf(const ModelVersion& model, const Dispatcher::Work& work, Time now);
// A language model's figures; its work is added to `backlog_s`.
ModelFigures FiguresOf(const LlmModel& model, double* backlog_s);
// The graphs of models whose calls could be answered now. Each step's model is looked up, in the cluster too.
std::vector<ModelFigures> GraphsOf(const ModelRegistry& registry);
// Models that serve and the work of all, into `figures`; what their mapped weights take is no more free memory there.
void AddOwnModels(const ModelRegistry& registry, Time now, NodeFigures* figures);

}  // namespace evenkeel
