// Which form of the balance's equation moves work between nodes: ours, the method's, or none. Live and simulated alike.
//
// kAuto: balance.h with the nodes' capacities, so that loads per capacity become alike.
// kMethod: every node counts as one (C = 1, A = 0, plain average), so that loads become alike, whatever a node's size. Damped as ours is, since else it swings;
//   what goes still has to repay its cost (moves.h), for which true sizes count.
// kOff: nothing moves; routing alone keeps loads level.
// Thread-safety: pure. Source: B8.
#pragma once

#include <Eigen/Dense>

#include <cstdint>
#include <string_view>
#include <vector>

#include "cluster/policy/balance.h"
#include "core/status.h"

namespace evenkeel {

enum class BalanceRule : uint8_t { kAuto, kMethod, kOff };

// "auto", "method", "off". kInvalidArgument: another name.
Result<BalanceRule> BalanceRuleNamed(std::string_view name);

// Of the nodes that are `open`, damped for samples of `period_s` with figures `age_samples` old: what Flows() of balance.h makes of it is what moves.
// `capacity`: by node, > 0. `moves`: between two open nodes before it is damped, 1/s times capacity.
// REQUIRES: both of one size, at least one node.
BalanceModel BalanceFor(BalanceRule rule, const Eigen::VectorXd& capacity,
                        const std::vector<bool>& open, double moves, double period_s,
                        int age_samples);

}  // namespace evenkeel
