#include "cluster/policy/sequence_cost.h"

#include <algorithm>
#include <cstddef>

namespace evenkeel {

double StepTime(std::span<const double> steps, double sequences) {
  if (steps.empty() || sequences <= 0) return 0;
  if (sequences <= 1) return steps.front();
  double low = 1;  // sequences of steps[i - 1]
  for (size_t i = 1; i < steps.size(); ++i, low *= 2) {
    if (sequences <= 2 * low)
      return steps[i - 1] + (steps[i] - steps[i - 1]) * (sequences - low) / low;
  }
  return steps.back() * sequences / low;
}

SequenceCost CostOfSequence(const SequencesThere& there, double answer_tokens,
                            double prompt_tokens) {
  const double slots = std::max(1, there.slots);
  const double beside = std::clamp(there.open, 0.0, slots - 1);
  const double prompt_s = prompt_tokens * there.prompt_s;
  const double step_s = StepTime(there.steps, beside + 1);
  SequenceCost cost;
  cost.service_s = answer_tokens * step_s + prompt_s;
  if (there.open >= slots) {
    cost.wait_s = (there.open - slots + 1) * there.call_rows * StepTime(there.steps, slots) / slots;
  }
  // More sequences may have been seen to take less: noise, and no gain of theirs.
  const double more_s = std::max(0.0, step_s - StepTime(there.steps, beside));
  if (beside > 0) cost.beside_s = kBeside * beside * (answer_tokens * more_s + prompt_s);
  return cost;
}

}  // namespace evenkeel
