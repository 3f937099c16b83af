#include "cluster/live/node_figures.h"

#include <algorithm>
#include <string_view>

namespace evenkeel {

bool Serves(const NodeFigures& figures, std::string_view model) {
  const auto named = [model](const ModelFigures& one) { return one.name == model; };
  return std::ranges::any_of(figures.models, named) || std::ranges::any_of(figures.graphs, named);
}

double WorkOf(const ModelFigures& model, double rows, double prompt_tokens) {
  const double work = model.row_s * rows + model.prompt_token_s * prompt_tokens;
  if (model.late_row_s <= 0) return work;
  // Where full batches were never measured, what is known of prompts is in what rows took.
  return model.row_s > 0 ? work * (model.late_row_s / model.row_s) : model.late_row_s * rows;
}

double BacklogOf(const ModelFigures& model) {
  if (!model.language) return 0;
  const double tokens = model.answer_tokens > 0 ? model.answer_tokens : kAnswerTokens;
  const double running = std::min(model.open, model.slots);
  const double waiting = model.open - running;
  const double prompt_rows = std::max(0.0, model.call_rows - tokens);
  return WorkOf(model, running / 2 * tokens + waiting * (tokens + prompt_rows));
}

SequenceCost CostOfSequence(const ModelFigures& model, double open, double answer_tokens,
                            double prompt_tokens) {
  return CostOfSequence({.steps = model.step_s,
                         .prompt_s = model.prompt_s,
                         .slots = model.slots,
                         .open = open,
                         .call_rows = model.call_rows},
                        answer_tokens, prompt_tokens);
}

void ToldBefore::Complete(NodeFigures* figures) {
  has_ = figures->knows;
  if (!figures->as_before) {
    of_ = figures->incarnation;
    software_ = figures->software;
    resources_ = figures->resources;
  } else if (of_ == figures->incarnation) {
    figures->software = software_;
    figures->resources = resources_;
  } else {
    of_ = 0;
  }
}

void ToldBefore::Mark(NodeFigures* own) const {
  own->knows = of_;
  own->as_before = own->incarnation != 0 && has_ == own->incarnation;
}

void ToldBefore::MarkAnswer(const NodeFigures& theirs, NodeFigures* own) const {
  own->knows = of_;
  own->as_before = own->incarnation != 0 && theirs.knows == own->incarnation;
}

uint64_t DigestOf(std::vector<NodeAddress> nodes) {
  std::ranges::sort(nodes, {}, &NodeAddress::name);
  uint64_t hash = 0xcbf29ce484222325;  // FNV-1a: it keeps no secret
  const auto add = [&hash](std::string_view text) {
    for (const char c : text) hash = (hash ^ static_cast<uint8_t>(c)) * 0x100000001b3;
    hash = (hash ^ 0xff) * 0x100000001b3;  // no name or address has this byte
  };
  for (const NodeAddress& node : nodes) {
    add(node.name);
    add(node.address);
  }
  return hash;
}

}  // namespace evenkeel
