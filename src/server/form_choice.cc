#include "server/form_choice.h"

#include <algorithm>

#include "core/format.h"
#include "core/parse.h"
#include "profiling/cell_runner.h"
#include "profiling/model_profile.h"
#include "profiling/policy/select_method.h"

namespace evenkeel {
namespace {

Duration FromUs(double us) { return Duration(static_cast<int64_t>(us * 1e3)); }

ObjectiveQuery ObjectiveOf(const FormQuery& query, Precision precision) {
  ObjectiveQuery objective;
  objective.objective_us = Seconds(query.objective) * 1e6;
  objective.rate_per_s = query.rate_per_s;
  objective.host = query.host;
  objective.precision = precision;
  return objective;
}

}  // namespace

FormDecision DecideForm(const ModelConfig& model, const LoadRows& table, const FormQuery& query) {
  FormDecision decision;
  std::ranges::copy_if(table, std::back_inserter(decision.rows), [&](const LoadRow& row) {
    return row.cell.shape.memory_bytes >= query.least_memory &&
           (query.fixed_threads == 0 ||
            ToWorkerShape(row.cell.shape).threads() == query.fixed_threads);
  });
  const LoadRows& rows = decision.rows;
  decision.precision = PrecisionFor(model, rows);
  AdoptionQuery adopt;
  adopt.current = query.current;
  adopt.objective = ObjectiveOf(query, decision.precision.precision);
  adopt.always = query.by_method;
  Choice by_objective = SelectByObjective(rows, adopt.objective);
  if (query.by_method) {
    decision.rule = "method";
    decision.asked = fmt::format("Batchtime / NoBatchtime at most {:g}", query.ratio_threshold);
    decision.choice = SelectByMethod(rows, query.ratio_threshold, decision.precision.precision);
    if (!decision.choice.row) {
      LoadRows unbatched;
      for (const LoadRow& row : rows) {
        if (row.cell.batch == 1) unbatched.push_back(row);
      }
      const Choice single = SelectByObjective(unbatched, adopt.objective);
      if (single.row) decision.cell = unbatched[*single.row].cell;
    }
  } else {
    decision.rule = "objective";
    decision.asked =
        fmt::format("p99 within {}{}", FormatDuration(query.objective),
                    query.rate_per_s > 0 ? fmt::format(" at {:.3g} rows/s", query.rate_per_s)
                                         : std::string(" at 0.7 of what a row can serve"));
    decision.choice = std::move(by_objective);
  }
  if (decision.choice.row) {
    decision.cell = rows[*decision.choice.row].cell;
    decision.adoption = Weigh(rows, decision.choice, adopt);
  } else if (decision.cell) {
    // The method does not batch: what is chosen is a shape for single items.
    Choice single = decision.choice;
    single.row =
        static_cast<size_t>(std::ranges::find(rows, *decision.cell, &LoadRow::cell) - rows.begin());
    decision.adoption = Weigh(rows, single, adopt);
  } else {
    decision.adoption.why = "no row of the table gives a figure";
  }
  decision.batch = decision.cell ? decision.cell->batch : 1;
  return decision;
}

std::vector<TimedSize> TimesOn(const LoadRows& rows, const Cell& cell) {
  std::vector<TimedSize> times;
  for (const LoadRow& row : rows) {
    if (row.outcome != CellOutcome::kOk || row.cell.shape != cell.shape ||
        row.cell.precision != cell.precision || row.batch_us <= 0) {
      continue;
    }
    times.push_back(
        {row.cell.batch, FromUs(row.batch_us), FromUs(std::max(row.batch_us, row.p99_us))});
  }
  std::ranges::sort(times, {}, &TimedSize::rows);
  return times;
}

}  // namespace evenkeel
