// A simulation's figures as a document: evenkeel.simulation/v1.
//
// Units: milliseconds, rows, requests, seconds of core time, as each name says. Thread-safety: thread-safe.
#pragma once

#include <nlohmann/json_fwd.hpp>

#include "sim/simulation.h"

namespace evenkeel::sim {

nlohmann::ordered_json ToJson(const SimReport& report);

}  // namespace evenkeel::sim
