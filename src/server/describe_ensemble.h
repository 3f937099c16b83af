// An ensemble as JSON, with the fields that every model has (describe.h) and its steps.
//
// Thread-safety: thread-safe.
#pragma once

#include <nlohmann/json_fwd.hpp>

namespace evenkeel {

class EnsembleModel;

nlohmann::json DescribeEnsemble(const EnsembleModel& model);

}  // namespace evenkeel
