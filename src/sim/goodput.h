// The goodput of a mix: the largest common factor on its rates at which every model gets its share of items within its objective.
//
// Contract: bisection on k by ratio to `tolerance`; k is "kept" when each model's within/arrived >= share. The answer is the
//   largest k that was seen to be kept with a k that was not within `tolerance` of it (kept(k) is not monotone in
//   the last percent, where chance decides: the seed is the same for every k). 0: not even the least k was kept.
//   `fresh` makes a new policy for each run. Source: issue 4, "Goodput of a mix".
#pragma once

#include <functional>
#include <memory>

#include "sim/simulation.h"

namespace evenkeel::sim {

struct GoodputSearch {
  double share = 0.99;
  double tolerance = 0.005;
  double least = 1e-3, most = 1e3;
};

struct GoodputResult {
  double factor = 0;
  int runs = 0;
  SimReport report;  // at `factor`
};

using FreshPolicy = std::function<std::unique_ptr<policy::NodePolicy>()>;

GoodputResult FindGoodput(const std::vector<SimModel>& models, const FreshPolicy& fresh,
                          SimOptions options, const GoodputSearch& search = {});

}  // namespace evenkeel::sim
