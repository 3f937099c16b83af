#include "llm/policy/llm_sweep_plan.h"

#include <algorithm>
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
  for (const int threads : ThreadsToSweep(cores)) {
    const int prompt = PromptFor(table, threads);
    // The least prompt, then one of the size that is wanted; both tell of one sequence's steps as well.
    if (!table.Knows({threads, 0, 0, prompt}, 1)) return SweepCell{threads, 1, prompt};
    for (const int sequences : {1, 4, 16, slots}) {
      if (sequences > slots) continue;
      if (!table.Knows({threads, sequences, 0, 0})) return SweepCell{threads, sequences, prompt};
    }
  }
  return std::nullopt;
}

}  // namespace evenkeel::policy
