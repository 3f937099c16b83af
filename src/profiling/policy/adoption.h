// Whether a model goes over to the row that a selector has chosen, or stays with the one it runs on.
//
// Contract: stays while the chosen row is not better by more than kLeastGain: going over costs a start of workers, and forecasts move
//   all the time. Better means cost an item (select_objective.h), at the same objective and rate. A current row that is not in the
//   table any more, has no figure there, does not keep the objective while the chosen one does, or is in a precision that is not allowed
//   any more is left for the chosen one whatever it costs. A chosen row that keeps no objective is taken only where there is no current row.
//   `always` (the method's rule, which knows no cost): goes over to whatever differs.
// Thread-safety: pure. Source: A7 ("adopts what its table says").
#pragma once

#include <optional>
#include <string>

#include "profiling/policy/choice.h"
#include "profiling/policy/load_row.h"
#include "profiling/policy/select_objective.h"

namespace evenkeel {

struct AdoptionQuery {
  static constexpr double kLeastGain = 0.1;

  std::optional<Cell>
      current;  // what the model runs on, as a cell of the table; nullopt: its defaults
  ObjectiveQuery objective;  // with the precision that was chosen
  bool always = false;
};

struct Adoption {
  bool change = false;
  std::string why;  // one sentence, either way
};

// `choice` is of `rows`. Without a row in it (do not batch, nothing fits) nothing changes.
Adoption Weigh(const LoadRows& rows, const Choice& choice, const AdoptionQuery& query);

}  // namespace evenkeel
