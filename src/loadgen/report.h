// A run's record as JSON (one stable schema) and as a table for people.
//
// Contract: totals leave warm-up stages out and show them apart; errors and unanswered requests
//   are always shown. In each block sent = ok + wrong + errors + unanswered.
// Units: milliseconds for latencies, requests and rows (items) a second for rates.
// Thread-safety: thread-safe.
#pragma once

#include <nlohmann/json_fwd.hpp>
#include <string>

#include "loadgen/run.h"

namespace evenkeel::loadgen {

// "evenkeel.bench/1". `REQUIRES`: record comes from RunLoad(plan).
nlohmann::json ReportJson(const LoadPlan& plan, const RunRecord& record);
// The same report for a terminal, from its JSON.
std::string ReportTable(const nlohmann::json& report);

}  // namespace evenkeel::loadgen
