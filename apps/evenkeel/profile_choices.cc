#include "profile_choices.h"

#include <algorithm>
#include <chrono>
#include <cmath>

#include "core/format.h"
#include "core/parse.h"
#include "profiling/model_profile.h"
#include "profiling/policy/select_class.h"

namespace evenkeel {
namespace {

constexpr Duration kDefaultObjective = std::chrono::milliseconds(50);

// Where nobody states one, as the daemon has it: that, or ten times what one item takes.
Duration UnstatedObjective(const LoadRows& rows, Precision precision) {
  double least_us = 0;
  for (const LoadRow& row : rows) {
    const bool one =
        row.outcome == CellOutcome::kOk && row.cell.batch == 1 && row.cell.precision == precision;
    if (one && (least_us == 0 || row.batch_us < least_us)) least_us = row.batch_us;
  }
  const auto ms = static_cast<int64_t>(std::ceil(10 * least_us / 1e3));
  return std::max<Duration>(kDefaultObjective, std::chrono::milliseconds(ms));
}

}  // namespace

void ChooseAll(const ProfileOptions& options, const ModelConfig& model, const HostSize& host,
               ProfileReport* report) {
  const LoadRows& rows = report->table.rows;
  const PrecisionChoice chosen = PrecisionFor(model, rows, report->table.inputs == kFromSamples);
  const Precision precision = chosen.precision;
  if (model.precision_auto) report->precision = chosen;
  const Duration objective =
      options.objective.value_or(model.objective.value_or(UnstatedObjective(rows, precision)));
  ObjectiveQuery query;
  query.objective_us = Seconds(objective) * 1e6;
  query.rate_per_s = options.rate_per_s;
  query.host = host;
  query.precision = precision;
  const bool cpu = model.device != DeviceClass::kGpu;
  const bool gpu = model.device != DeviceClass::kCpu && host.gpu_cores > 0;
  const std::string within = fmt::format("p99 within {}", FormatDuration(objective));
  if (cpu) {
    report->choices.push_back({"method", fmt::format("threshold {}", options.threshold),
                               SelectByMethod(rows, options.threshold, precision)});
  }
  if (gpu) {
    GpuThresholds thresholds;
    thresholds.latency_us = query.objective_us;
    thresholds.gpu_memory_bytes = host.gpu_memory_bytes;
    report->choices.push_back(
        {"method gpu",
         fmt::format("a batch within {}, {} of device memory", FormatDuration(objective),
                     FormatBytes(host.gpu_memory_bytes)),
         SelectGpuByMethod(rows, thresholds, precision)});
  }
  if (cpu) report->choices.push_back({"objective", within, SelectByObjective(rows, query)});
  if (gpu) {
    query.gpu = true;
    report->choices.push_back({"objective gpu", within, SelectByObjective(rows, query)});
    report->classes = SelectClass(rows, model.device, query);
  }
}

}  // namespace evenkeel
