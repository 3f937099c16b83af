// Whether an ensemble's steps make a graph that can run: every tensor comes from somewhere, once, and no step waits for itself (B4).
//
// Errors: kInvalidArgument, naming step and tensor; a circle with the steps on it, in its order. Thread-safety: pure.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "core/model_config.h"
#include "core/status.h"

namespace evenkeel {

inline constexpr size_t kMostEnsembleSteps = 64;
inline constexpr std::string_view kEnsembleEngine = "ensemble";

// `inputs`, `outputs`: names of the ensemble's own tensors. Puts the steps into an order in which they can run.
Status OrderEnsemble(std::string_view name, const std::vector<std::string>& inputs,
                     const std::vector<std::string>& outputs, std::vector<EnsembleStep>* steps);

}  // namespace evenkeel
