// The outcome of a simulated pipeline as JSON.
//
// Thread-safety: thread-safe.
#pragma once

#include <nlohmann/json_fwd.hpp>

#include "sim/cluster/pipeline_simulation.h"

namespace evenkeel::sim {

// {"schema": "evenkeel.pipeline_simulation/v1", "model", "layers", "seconds", "tokens_per_s", "sequences": {"arrived", "answered", "unanswered"}, "answer_tokens", "again_tokens", "down_s", "trouble",
//  "first_token_ms": {"mean", "p50", "p99"}, "inter_token_ms": {...}, "cuts": [{"from_s", "until_s", "period_s", "latency_s", "stages": [{"name", "node", "first", "last", "memory_bytes", "seconds", "idle"}]}]}
// Stages are named as in a plan. `idle` is the bubble: the share of the counted time that the stage did not compute.
nlohmann::ordered_json ToJson(const PipelineScenario& scenario, const PipelineOptions& options,
                              const PipelineOutcome& outcome);

}  // namespace evenkeel::sim
