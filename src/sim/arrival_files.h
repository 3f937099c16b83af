// Traces as text: times, counts a bin, or parameters of clients.
//
// Contract: the first line may name the columns; blank lines and lines that begin with '#' are skipped. Every other line must be
//   right: errors (kInvalidArgument) name file and line. At most 100 million lines.
// Thread-safety: thread-safe.
#pragma once

#include <string_view>
#include <vector>

#include "core/status.h"
#include "sim/arrival_spec.h"

namespace evenkeel::sim {

// Seconds, from the first on (the first becomes 0). Must be finite, >= 0 and ascending. Column `t_s`, else the first.
Result<std::vector<double>> ParseTimes(std::string_view text, std::string_view name);

// Requests a bin, >= 0, the last column; at least one above 0.
Result<std::vector<RateSpan>> ParseCounts(std::string_view text, std::string_view name,
                                          double bin_seconds);

struct ClientWindow {
  double start_s = 0, seconds = 0;
  double rate_rps = 0;
  double cv = 0;
};
double MeanRate(const std::vector<ClientWindow>& windows);

// Columns t_s, client, rate_rps, iat_cv; windows ascending, all of the least distance between two of them (600 s if there is
// one). The first starts at 0. Played `speed` times as fast: windows shrink, rates stay.
Result<std::vector<ClientWindow>> ParseClients(std::string_view text, std::string_view name,
                                               double speed);

}  // namespace evenkeel::sim
