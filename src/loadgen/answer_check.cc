#include "loadgen/answer_check.h"

#include <cmath>
#include <cstring>

#include "loadgen/load.h"

namespace evenkeel::loadgen {

bool AnswersMatch(std::string_view expected, std::string_view got, size_t floats_from,
                  double tolerance) {
  if (expected == got) return true;
  if (expected.size() != got.size() || floats_from > expected.size()) return false;
  if (expected.substr(0, floats_from) != got.substr(0, floats_from)) return false;
  if ((expected.size() - floats_from) % sizeof(float) != 0) return false;
  for (size_t at = floats_from; at < expected.size(); at += sizeof(float)) {
    float a = 0;
    float b = 0;
    std::memcpy(&a, expected.data() + at, sizeof a);
    std::memcpy(&b, got.data() + at, sizeof b);
    const bool same = a == b || (std::isnan(a) && std::isnan(b));
    if (!same && !(std::abs(a - b) <= tolerance * (1 + std::abs(a)))) return false;
  }
  return true;
}

bool AnswerIsRight(const LoadPlan& plan, const PreparedModel& model, const PreparedRequest& request,
                   std::string_view answer) {
  if (request.reference.empty()) return true;
  const size_t floats_from = model.float_outputs ? request.floats_from : kNoFloats;
  return AnswersMatch(request.reference, answer, floats_from, plan.tolerance);
}

}  // namespace evenkeel::loadgen
