// Makers of the policies, one a file; MakeNodePolicy (node_policy.h) is the door.
#pragma once

#include <memory>

#include "batching/policy/node_policy.h"

namespace evenkeel::policy {

std::unique_ptr<NodePolicy> MakeAuto(const PolicySettings& settings);    // auto.cc
std::unique_ptr<NodePolicy> MakeMethod(const PolicySettings& settings);  // method.cc
std::unique_ptr<NodePolicy> MakeOracle();                                // oracle.cc
std::unique_ptr<NodePolicy> MakeCork();                                  // cork.cc
std::unique_ptr<NodePolicy> MakeNone();                                  // at_will.cc
std::unique_ptr<NodePolicy> MakeGreedy();                                // at_will.cc
std::unique_ptr<NodePolicy> MakeFixed();                                 // at_will.cc
std::unique_ptr<NodePolicy> MakeGatedGreedy();                           // gated_greedy.cc

}  // namespace evenkeel::policy
