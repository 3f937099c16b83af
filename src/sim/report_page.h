// A simulation as one page with plots: latency CDF, batch sizes, forecast against actual, cores used.
//
// Contract: one self-contained HTML document (inline style and SVG, no script, nothing fetched). Names are escaped. The series need
//   SimOptions::plot_bins > 0; without them their plots are left out. `seconds` is the length that the series span.
// Thread-safety: thread-safe.
#pragma once

#include <string>

#include "sim/simulation.h"

namespace evenkeel::sim {

std::string ReportPage(const SimReport& report, double seconds, int cores);

}  // namespace evenkeel::sim
