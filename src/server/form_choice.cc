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
  objective.gpu = query.device == DeviceClass::kGpu;
  return objective;
}

bool TakesPart(const LoadRow& row, const ModelConfig& model, const FormQuery& query) {
  const CellShape& shape = row.cell.shape;
  if (shape.gpu() != (query.device == DeviceClass::kGpu)) return false;
  if (!shape.gpu()) {
    return shape.memory_bytes >= query.least_memory &&
           (query.fixed_threads == 0 || ToWorkerShape(shape).threads() == query.fixed_threads);
  }
  if (model.gpu_shape.cores > 0) return DeviceShareOf(shape) == model.gpu_shape;
  const DeviceSize share = DeviceShareOf(shape);
  if (share == query.held || (query.current && shape == query.current->shape)) return true;
  return FitsRoom(share, query.held, query.room, query.instances);
}

void ByMethod(const FormQuery& query, const ObjectiveQuery& objective, FormDecision* decision) {
  const LoadRows& rows = decision->rows;
  const Precision precision = decision->precision.precision;
  decision->rule = "method";
  if (query.device == DeviceClass::kGpu) {
    decision->asked = fmt::format("a batch within {}", FormatDuration(query.objective));
    GpuThresholds thresholds;
    thresholds.latency_us = objective.objective_us;
    thresholds.gpu_memory_bytes = query.host.gpu_memory_bytes;
    decision->choice = SelectGpuByMethod(rows, thresholds, precision);
    return;
  }
  decision->asked = fmt::format("Batchtime / NoBatchtime at most {:g}", query.ratio_threshold);
  decision->choice = SelectByMethod(rows, query.ratio_threshold, precision);
  if (decision->choice.row) return;
  LoadRows unbatched;
  for (const LoadRow& row : rows) {
    if (row.cell.batch == 1) unbatched.push_back(row);
  }
  const Choice single = SelectByObjective(unbatched, objective);
  if (single.row) decision->cell = unbatched[*single.row].cell;
}

}  // namespace

FormDecision DecideForm(const ModelConfig& model, const LoadRows& table, const FormQuery& query) {
  FormDecision decision;
  std::ranges::copy_if(table, std::back_inserter(decision.rows),
                       [&](const LoadRow& row) { return TakesPart(row, model, query); });
  const LoadRows& rows = decision.rows;
  decision.precision = PrecisionFor(model, rows, query.sampled);
  AdoptionQuery adopt;
  adopt.current = query.current;
  adopt.objective = ObjectiveOf(query, decision.precision.precision);
  adopt.always = query.by_method;
  if (query.by_method) {
    ByMethod(query, adopt.objective, &decision);
  } else {
    decision.rule = "objective";
    decision.asked =
        fmt::format("p99 within {}{}", FormatDuration(query.objective),
                    query.rate_per_s > 0 ? fmt::format(" at {:.3g} rows/s", query.rate_per_s)
                                         : std::string(" at 0.7 of what a row can serve"));
    decision.choice = SelectByObjective(rows, adopt.objective);
  }
  if (query.device == DeviceClass::kGpu && model.gpu_shape.cores == 0)
    decision.asked += fmt::format(", {} of the device free", FormatDeviceSize(query.room));
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

bool FitsRoom(const DeviceSize& share, const DeviceSize& held, const DeviceSize& room,
              int instances) {
  // When the last is to come, all others have come and their forerunners gone.
  const auto fits = [instances](int64_t one, int64_t before, int64_t free) {
    return one <= free && instances * one <= free + (instances - 1) * before;
  };
  return fits(share.cores, held.cores, room.cores) &&
         fits(share.memory_bytes, held.memory_bytes, room.memory_bytes);
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
