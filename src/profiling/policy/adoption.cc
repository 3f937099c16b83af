#include "profiling/policy/adoption.h"

#include <fmt/format.h>

#include <algorithm>

namespace evenkeel {
namespace {

const LoadRow* FindOk(const LoadRows& rows, const Cell& cell) {
  const auto at = std::ranges::find(rows, cell, &LoadRow::cell);
  return at == rows.end() || at->outcome != CellOutcome::kOk ? nullptr : &*at;
}

}  // namespace

Adoption Weigh(const LoadRows& rows, const Choice& choice, const AdoptionQuery& query) {
  if (!choice.row) return {false, "no row was chosen"};
  const LoadRow& chosen = rows[*choice.row];
  if (!query.current) return {true, "the first choice"};
  if (*query.current == chosen.cell) return {false, "the chosen row is the one in use"};
  if (query.always) return {true, "the rule chose another row"};
  const LoadRow* current = FindOk(rows, *query.current);
  if (current == nullptr) return {true, "the row in use gives no figure any more"};
  if (current->cell.precision != query.objective.precision)
    return {true, "another precision was chosen"};
  const RowPrice now = PriceOf(*current, query.objective), then = PriceOf(chosen, query.objective);
  const bool keeps = now.latency99_us <= query.objective.objective_us;
  if (!choice.met) return {false, "no row keeps the objective"};
  if (!keeps) return {true, "the row in use does not keep the objective at this rate"};
  const double gain = 1 - then.core_s_per_item / now.core_s_per_item;
  if (gain <= AdoptionQuery::kLeastGain) {
    return {false, fmt::format("the chosen row is cheaper by {:.0f} %, not by more than {:.0f} %",
                               std::max(0.0, 100 * gain), 100 * AdoptionQuery::kLeastGain)};
  }
  return {true, fmt::format("cheaper by {:.0f} % an item", 100 * gain)};
}

}  // namespace evenkeel
