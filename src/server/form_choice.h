// What a model is to run on, read from its load table: precision, row, and whether that is worth going over to.
//
// Rules: `method` is A5 to the letter, `objective` ours. Only rows of shapes that have as many threads as the operator fixed are looked at.
// Contract: without an ok row nothing is decided, and `why` says so. `batch` is Y_batch (1: do not batch). Where the method says not to
//   batch, the shape is that of the cheapest row of batch 1 by `objective`: the method names none.
// Thread-safety: pure. Source: A5, A7, and the column "precision".
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "core/model_config.h"
#include "profiling/policy/adoption.h"
#include "profiling/policy/choice.h"
#include "profiling/policy/drift.h"
#include "profiling/policy/load_row.h"
#include "profiling/policy/select_objective.h"
#include "profiling/policy/select_precision.h"

namespace evenkeel {

struct FormQuery {
  bool by_method = false;
  double ratio_threshold = 0.8;
  Duration objective{};
  double rate_per_s = 0;  // forecast; 0: nothing is asked
  HostSize host;
  int64_t least_memory = 0;     // less was too little when it served
  int fixed_threads = 0;        // that the operator asked for; 0: none
  std::optional<Cell> current;  // what the model runs on since it adopted that
};

struct FormDecision {
  LoadRows rows;  // that were looked at: what `choice` indexes
  PrecisionChoice precision;
  std::string rule, asked;  // "objective", "p99 within 50ms at 120 rows/s"
  Choice choice;
  Adoption adoption;
  std::optional<Cell> cell;  // of the chosen row; its batch is Y_batch
  int batch = 1;             // Y_batch
};

FormDecision DecideForm(const ModelConfig& model, const LoadRows& table, const FormQuery& query);

// T(n) of the ok rows on the cell's shape and in its precision, ascending.
std::vector<TimedSize> TimesOn(const LoadRows& rows, const Cell& cell);

}  // namespace evenkeel
