#include "llm/policy/text_plan.h"

#include <algorithm>

namespace evenkeel::policy {
namespace {

constexpr int kLeast = 16;
constexpr int kUnknown = 32;  // beside answers, before a cost was measured

// Those that are begun, and as many after them as there is room for.
std::vector<size_t> Admitted(std::span<const TextWork> texts, const TextLimits& limits) {
  int cells = limits.cells;
  int places = limits.texts;
  for (const TextWork& text : texts) {
    if (text.computed == 0) continue;
    cells -= text.length;
    --places;
  }
  std::vector<size_t> admitted;
  bool full = false;
  for (size_t i = 0; i < texts.size(); ++i) {
    const TextWork& text = texts[i];
    if (text.computed == 0) {
      // In order: a long text that waits for cells is not passed by short ones for ever.
      full = full || places == 0 || text.length > cells;
      if (full) continue;
      cells -= text.length;
      --places;
    }
    admitted.push_back(i);
  }
  return admitted;
}

std::vector<StepShare> Whole(std::span<const TextWork> texts, const TextLimits& limits) {
  std::vector<StepShare> plan;
  int left = limits.tokens;
  for (size_t i = 0; i < texts.size() && static_cast<int>(plan.size()) < limits.texts; ++i) {
    const int length = texts[i].length;
    if (length > limits.cells) {
      if (plan.empty()) return plan;
      continue;
    }
    if (!plan.empty() && length > left) continue;
    plan.push_back({i, length});
    left -= length;
  }
  return plan;
}

}  // namespace

std::vector<StepShare> PlanTexts(std::span<const TextWork> texts, const TextLimits& limits) {
  if (limits.whole) return Whole(texts, limits);
  const std::vector<size_t> admitted = Admitted(texts, limits);
  std::vector<StepSequence> work;
  work.reserve(admitted.size());
  for (const size_t i : admitted) {
    const TextWork& text = texts[i];
    work.push_back(
        {.prompt_left = text.length - text.computed, .priority = text.priority, .due = text.due});
  }
  std::vector<StepShare> plan = PlanStep(work, {limits.tokens, limits.tokens});
  for (StepShare& share : plan) share.sequence = admitted[share.sequence];
  return plan;
}

int TextTokens(Duration objective, Duration step, double token_cost, int most) {
  if (step <= Duration::zero()) return most;
  if (token_cost <= 0) return std::min(kUnknown, most);
  const double room = std::max(Seconds(objective - step), Seconds(step) / 4);
  return static_cast<int>(std::clamp<double>(room / token_cost, std::min(kLeast, most), most));
}

}  // namespace evenkeel::policy
