#include "loadgen/answer_check.h"

#include <cmath>
#include <cstring>

#include "loadgen/load.h"

namespace evenkeel::loadgen {

bool AnswersMatch(std::string_view expected, std::string_view got, bool float_tail,
                  double tolerance) {
  if (expected == got) return true;
  if (!float_tail || expected.size() != got.size()) return false;
  // A float that differs may make earlier bytes of itself differ only; text before it must be the
  // same. Work back from the end in floats until the prefixes are equal, so that the length of the
  // head need not be known.
  size_t end = expected.size();
  while (end >= sizeof(float) && expected.substr(0, end) != got.substr(0, end)) {
    end -= sizeof(float);
    float a = 0;
    float b = 0;
    std::memcpy(&a, expected.data() + end, sizeof a);
    std::memcpy(&b, got.data() + end, sizeof b);
    const bool close =
        std::abs(a - b) <= tolerance * (1 + std::abs(a)) || (std::isnan(a) && std::isnan(b));
    if (!close && std::memcmp(&a, &b, sizeof a) != 0) return false;
  }
  return expected.substr(0, end) == got.substr(0, end);
}

bool AnswerIsRight(const LoadPlan& plan, const PreparedModel& model, const PreparedRequest& request,
                   std::string_view answer) {
  return request.reference.empty() ||
         AnswersMatch(request.reference, answer, model.float_outputs, plan.tolerance);
}

}  // namespace evenkeel::loadgen
