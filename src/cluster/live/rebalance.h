// Which of the requests that wait on this node, and of the sequences that run here, go elsewhere (B7, B8): once a second, from the loads that are known of all nodes.
//
// The differential equation of loads (policy/balance.h) says how much work flows from here to each other node in a second; whole moves that repay their cost are
//   made of it (policy/moves.h). Every node works out its own moves from about the same figures; what it hands on is chosen a place by routing, so the
//   destination that a move is justified by is where it goes, most likely.
// Or as the method has it, or not at all (policy/balance_rule.h). The flows are damped so that with figures of a sample's age nothing overshoots. New work is not moved here: routing sends it where load is low.
// Contract: Plan() names no more rows of a model than wait. Single-owner. Units: seconds, rows. Source: B7, B8.
#pragma once

#include <Eigen/Dense>

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "cluster/policy/balance_rule.h"
#include "cluster/policy/moves.h"

namespace evenkeel {

class Rebalancer {
 public:
  static constexpr double kPeriod = 1.0;       // seconds between two calls of Plan()
  static constexpr int kAge = 1;               // samples that figures are old
  static constexpr double kHysteresis = 0.05;  // a move gains at least so much of the higher level

  struct Node {
    double load_s = 0;       // work that waits or runs
    double capacity = 1;     // cores
    double forward_s = 0;    // of a call from here to there
    bool takes_work = true;  // false: it is suspect, or drains
  };
  struct Queue {
    std::string model;
    int64_t rows = 0;  // that wait here
    double row_s = 0;  // work of one, here
    MovableKind kind = MovableKind::kQueued;
    double move_s =
        0;  // what a row's move costs the receiving node beside that: recomputing what it has
    // By node: seconds of a core that a row takes there; infinite: it does not serve the model. The own one is not looked at.
    std::vector<double> there_s;
    // By node: rows that may go there at most; empty: any number.
    std::vector<int64_t> most = {};
  };
  struct Move {
    std::string model;
    MovableKind kind = MovableKind::kQueued;
    int64_t rows = 0;
    int to = 0;
    double gain_s = 0;  // of the higher of the two levels
  };

  explicit Rebalancer(BalanceRule rule = BalanceRule::kAuto) : rule_(rule) {}

  // `nodes`: the own one first.
  std::vector<Move> Plan(std::span<const Node> nodes, std::span<const Queue> queues);

 private:
  BalanceRule rule_;
  Eigen::MatrixXd carried_;
};

}  // namespace evenkeel
