#include "profiling/policy/load_row.h"

namespace evenkeel {

std::string_view NameOf(CellOutcome outcome) {
  switch (outcome) {
    case CellOutcome::kOk: return "ok";
    case CellOutcome::kOom: return "oom";
    case CellOutcome::kTimeout: return "timeout";
    case CellOutcome::kError: return "error";
  }
  return "?";
}

bool ParseOutcome(std::string_view text, CellOutcome* outcome) {
  for (const auto known :
       {CellOutcome::kOk, CellOutcome::kOom, CellOutcome::kTimeout, CellOutcome::kError}) {
    if (NameOf(known) != text) continue;
    *outcome = known;
    return true;
  }
  return false;
}

}  // namespace evenkeel
