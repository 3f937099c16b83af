#include "llm/policy/expected_wait.h"

#include <functional>
#include <queue>
#include <vector>

#include "core/check.h"

namespace evenkeel::policy {

double StepsUntilFree(std::span<const double> running, std::span<const double> waiting, int slots) {
  EK_CHECK(slots >= 1);
  // When each slot comes free.
  std::priority_queue<double, std::vector<double>, std::greater<>> free;
  for (const double steps : running) free.push(steps);
  while (free.size() > static_cast<size_t>(slots)) free.pop();  // a limit that was lowered
  while (free.size() < static_cast<size_t>(slots)) free.push(0);
  for (const double steps : waiting) {
    const double begins = free.top();
    free.pop();
    free.push(begins + steps);
  }
  return free.top();
}

}  // namespace evenkeel::policy
