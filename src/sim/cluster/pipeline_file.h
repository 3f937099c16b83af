// A cluster and a model that is cut over it, to be simulated: the file that `evenkeel plan` takes (cluster/cluster_file.h) with what comes in beside it.
//
//   {"nodes": [...], "links": {...}, "tasks": [{"name": "giant", "layers": 80, "gflop": 140, "gbytes": 40, "memory": "42GiB", "boundary": "32KiB"}],
//    "pipeline": {"model": "giant", "arrivals": "poisson:0.1", "prompt": 512, "answer": 128, "piece": 512, "in_flight": 16, "detect": "1s", "load": "500MB"},
//    "events": [{"at": "60s", "node": "desk", "what": "fail|return|slow", "factor": 0.1}]}
// Needed of "pipeline": arrivals (sim/arrivals.h), of sequences; model where several tasks have layers. "prompt" and "answer" are tokens of each sequence, "piece" how many of a prompt a step takes, "in_flight" how
//   many sequences are under way at once, "load" how many bytes a second a node reads of its layers when the plan was made anew. The model's gflop, gbytes and boundary are those of a step of one token.
// Other tasks, edges, measurements and corrections are checked and not played.
// Errors: kInvalidArgument, with the place and what was expected; those of ParseClusterFile(). Thread-safety: thread-safe.
#pragma once

#include <string_view>

#include "core/status.h"
#include "sim/arrivals.h"
#include "sim/cluster/pipeline_simulation.h"

namespace evenkeel::sim {

// It is an object with a "pipeline", right or wrong.
bool IsPipeline(std::string_view text);

Result<PipelineScenario> ParsePipeline(std::string_view text, const ReadFile& read);

}  // namespace evenkeel::sim
