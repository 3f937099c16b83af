// What a selector chose from a load table, and why: rule by rule, which rows fell and which one won.
//
// Contract: `row` and the steps' rows are indexes into the table that the selector was given. Every row that takes part is dropped by
//   exactly one step or wins.
// Thread-safety: values. Source: A7, and "a placement that explains itself".
#pragma once

#include <cstddef>
#include <optional>
#include <string>
#include <vector>

namespace evenkeel {

struct ChoiceStep {
  std::string rule;             // "ratio at most 0.8"
  std::vector<size_t> dropped;  // rows that did not pass
  size_t kept = 0;
};

struct Choice {
  std::optional<size_t>
      row;          // Y_batch and T_batch are this row's batch and batch_us; empty: do not batch
  bool met = true;  // false: no row meets what was asked, `row` is the closest
  std::string why;  // one sentence
  std::vector<ChoiceStep> steps;
};

}  // namespace evenkeel
