// A load table as one self-contained HTML page: throughput and latency by batch size for each shape, the ratio against the threshold, and
// what was chosen.
//
// Contract: nothing is loaded from anywhere; texts are escaped. Thread-safety: pure.
#pragma once

#include <string>

#include "profile_print.h"

namespace evenkeel {

std::string PlotPage(const ProfileReport& report, double threshold);

}  // namespace evenkeel
