#include "profiling/policy/select_precision.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>

namespace evenkeel {

PrecisionChoice SelectPrecision(const LoadRows& rows, PrecisionRule rule, double tolerance,
                                bool sampled) {
  if (rule == PrecisionRule::kF32) return {Precision::kF32, "the manifest asks for f32"};
  if (rule == PrecisionRule::kBf16) return {Precision::kBf16, "the manifest asks for bf16"};
  double largest = -1;
  bool compared = true, any = false;
  std::map<std::pair<CellShape, int>, double> f32;
  double f32_us = 0, bf16_us = 0;
  for (const LoadRow& row : rows) {
    if (row.outcome == CellOutcome::kOk && row.cell.precision == Precision::kF32)
      f32[{row.cell.shape, row.cell.batch}] = row.batch_us;
  }
  for (const LoadRow& row : rows) {
    if (row.outcome != CellOutcome::kOk || row.cell.precision != Precision::kBf16) continue;
    any = true;
    compared = compared && row.diff_max >= 0;
    largest = std::max(largest, row.diff_max);
    const auto same = f32.find({row.cell.shape, row.cell.batch});
    if (same == f32.end()) continue;
    f32_us += same->second;
    bf16_us += row.batch_us;
  }
  if (!any)
    return {Precision::kF32, "no rows in bf16: this processor has none, or none was measured"};
  if (!compared) return {Precision::kF32, "the outputs in bf16 were not compared"};
  if (!(largest <= tolerance)) {
    return {Precision::kF32, fmt::format("outputs in bf16 differ by {:.3g}, allowed are {:.3g}",
                                         largest, tolerance)};
  }
  if (!sampled) {
    return {
        Precision::kF32,
        fmt::format("outputs in bf16 differ by {:.3g} on made-up inputs: it is weighed again once "
                    "sampled ones were compared",
                    largest)};
  }
  if (bf16_us >= f32_us) return {Precision::kF32, "bf16 is not faster here"};
  return {Precision::kBf16,
          fmt::format("{:.1f} times as fast, outputs differ by {:.3g}, allowed are "
                      "{:.3g}",
                      f32_us / bf16_us, largest, tolerance)};
}

}  // namespace evenkeel
