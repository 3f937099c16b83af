#include "llm/policy/llm_sweep_plan.h"

#include <algorithm>
#include <initializer_list>
#include <vector>

namespace evenkeel::policy {
namespace {

std::vector<int> ThreadsToSweep(int cores) {
  std::vector<int> threads = {cores};
  if (cores > 1) threads.push_back(1);
  for (int between = 2; between < cores; between *= 2) threads.push_back(between);
  return threads;
}

int PromptFor(const LlmLoadTable& table, int threads) {
  const double token_s = table.PromptTokenSeconds(threads, kLeastSweepPrompt);
  if (token_s <= 0) return kLeastSweepPrompt;
  return static_cast<int>(
      std::clamp<double>(Seconds(kSweepPromptTime) / token_s, kLeastSweepPrompt, kMostSweepPrompt));
}

}  // namespace

std::optional<SweepCell> NextSweepCell(const LlmLoadTable& table, int cores, int slots) {
  const std::vector<int> threads = ThreadsToSweep(cores);
  // The least prompt, then one of the size that is wanted; both tell of one sequence's steps as well.
  const auto next = [&](int with, std::initializer_list<int> sizes) -> std::optional<SweepCell> {
    const int prompt = PromptFor(table, with);
    if (!table.Knows({with, 0, 0, prompt}, 1)) return SweepCell{with, 1, prompt};
    for (const int sequences : sizes) {
      if (sequences <= slots && !table.Knows({with, sequences, 0, 0}))
        return SweepCell{with, sequences, prompt};
    }
    return std::nullopt;
  };
  // Many sequences take long: what is known of all threads before says more.
  for (const int with : threads) {
    if (const auto cell = next(with, {1, 4, 16})) return cell;
  }
  for (const int with : threads) {
    if (const auto cell = next(with, {slots})) return cell;
  }
  return std::nullopt;
}

}  // namespace evenkeel::policy
