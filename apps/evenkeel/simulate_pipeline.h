// `evenkeel simulate --cluster FILE` where the file has a pipeline: a model that is cut over nodes.
//
// Thread-safety: main thread only.
#pragma once

#include <string>

#include "sim/arrivals.h"
#include "simulate_cluster.h"

namespace evenkeel {

// `text`: of flags.file. Ends the program with a message where the file or a flag is wrong, or the model does not fit.
void SimulatePipelineAndPrint(const ClusterFlags& flags, const std::string& text,
                              const sim::ReadFile& read);

}  // namespace evenkeel
