// How many sequences of a language model run or wait on a node now: what its last figures say, and what this gateway began and ended there since they were made.
//
// Contract: Change() and OnFigures() in the order of their times. Now() is never below what this gateway has there itself.
// Units: seconds on the caller's clock, sequences. Thread-safety: single-owner.
#pragma once

#include <algorithm>
#include <deque>
#include <utility>

namespace evenkeel {

class OpenSequences {
 public:
  // Begun (> 0) or ended (< 0) there by this gateway.
  void Change(int count, double now_s) {
    own_ = std::max(0, own_ + count);
    since_.emplace_back(now_s, count);
  }
  void OnFigures(double made_s) {
    while (!since_.empty() && since_.front().first <= made_s) since_.pop_front();
  }
  // `told`: by those figures.
  double Now(int told) const {
    int open = told;
    for (const auto& [when, count] : since_) open += count;
    return std::max(own_, open);
  }

 private:
  int own_ = 0;
  std::deque<std::pair<double, int>> since_;  // the latest figures were made
};

}  // namespace evenkeel
