// What the daemon's profiling knows of a model, as JSON.
//
// Thread-safety: thread-safe.
#pragma once

#include <nlohmann/json_fwd.hpp>

#include "server/self_profile.h"

namespace evenkeel {

// state, why, paused, cells, left_out, inputs, kept, choice, adopted, precision, drift, advice; of a model that may run on both classes also
// `class` (which it holds instances of, why) and `on_device` (choice and adopted there); with `details` also the table's rows and what each
// rule dropped.
nlohmann::json DescribeProfile(const SelfProfile::View& view, bool details);

}  // namespace evenkeel
