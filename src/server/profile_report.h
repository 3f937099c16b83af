// What the daemon's profiling knows of a model, as JSON.
//
// Thread-safety: thread-safe.
#pragma once

#include <nlohmann/json_fwd.hpp>

#include "server/self_profile.h"

namespace evenkeel {

// state, why, paused, cells, inputs, kept, chosen, rule, asked, met, why, adopted, precision, drift, advice; with `details` also the table's
// rows and what each rule dropped.
nlohmann::json DescribeProfile(const SelfProfile::View& view, bool details);

}  // namespace evenkeel
