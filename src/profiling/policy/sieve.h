// Rules applied one after the other to the rows of a table, writing down what each drops.
//
// Thread-safety: single-owner.
#pragma once

#include <algorithm>
#include <string>
#include <utility>
#include <vector>

#include "profiling/policy/choice.h"
#include "profiling/policy/load_row.h"

namespace evenkeel {

class Sieve {
 public:
  Sieve(const LoadRows& rows, Choice* choice) : rows_(rows), choice_(*choice) {
    for (size_t i = 0; i < rows.size(); ++i) left_.push_back(i);
  }

  const std::vector<size_t>& left() const { return left_; }
  bool empty() const { return left_.empty(); }

  // Drops the rows for which `keep` is false. A rule that drops nothing leaves its step all the same.
  template <typename Keep>
  void Apply(std::string rule, Keep keep) {
    ChoiceStep step{std::move(rule), {}, 0};
    std::vector<size_t> kept;
    for (const size_t i : left_) (keep(rows_[i]) ? kept : step.dropped).push_back(i);
    left_ = std::move(kept);
    step.kept = left_.size();
    choice_.steps.push_back(std::move(step));
  }

  // Keeps the rows with the least `figure`.
  template <typename Figure>
  void Least(std::string rule, Figure figure) {
    if (left_.size() < 2) return;
    auto least = figure(rows_[left_.front()]);
    for (const size_t i : left_) least = std::min(least, figure(rows_[i]));
    Apply(std::move(rule), [&](const LoadRow& row) { return figure(row) == least; });
  }

  // The first in the table of those that are left.
  void Win() {
    if (empty()) return;
    choice_.row = left_.front();
    if (left_.size() == 1) return;
    const size_t first = left_.front();
    Apply("first in the table", [&](const LoadRow& row) { return &row == &rows_[first]; });
  }

 private:
  const LoadRows& rows_;
  Choice& choice_;
  std::vector<size_t> left_;
};

}  // namespace evenkeel
