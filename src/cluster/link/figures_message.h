// Figures as they travel between nodes.
//
// Errors: kInvalidArgument for what no node of ours says: no name, a number that is none or negative, more than kMostModels models or kMostSteps times of steps.
// Thread-safety: pure.
#pragma once

#include "cluster/live/node_figures.h"
#include "core/status.h"

namespace evenkeel::node::v1 {
class Figures;
}

namespace evenkeel {

inline constexpr int kMostModels = 4096;
inline constexpr int kMostSteps = 24;  // of 1, 2, 4, ... answers

void WriteFigures(const NodeFigures& figures, node::v1::Figures* message);
Result<NodeFigures> ReadFigures(const node::v1::Figures& message);

}  // namespace evenkeel
