#include "llm/policy/llm_choice.h"

#include <algorithm>
#include <cmath>

#include "core/format.h"

namespace evenkeel::policy {
namespace {

constexpr int kChunk = 128;  // prompt tokens beside answers, for the cost of one
constexpr int64_t kCellGrain = 256;
constexpr int64_t kSpareBytes = int64_t{128} << 20;
constexpr int64_t kContainerGrain = int64_t{64} << 20;

class Chooser {
 public:
  Chooser(const LlmLoadTable& table, const LlmForecast& forecast, const LlmObjectives& objectives,
          const LlmLimits& limits, const LlmPresent& present)
      : table_(table),
        forecast_(forecast),
        objectives_(objectives),
        limits_(limits),
        present_(present) {}

  LlmChoice Choose() {
    choice_.threads = choice_.least_threads = present_.threads;
    choice_.slots = present_.slots;
    choice_.cells = present_.cells;
    // Slots depend on the threads, and what is expected on both: with the most threads known there are most.
    const std::vector<int> known = KnownThreads();
    const int fastest = known.empty() ? present_.threads : Fastest(known, present_.slots);
    ChooseSlots(fastest);
    choice_.expected = Expected(fastest, choice_.slots);
    ChooseThreads(known);
    ChooseCells();
    choice_.step_s = Step(choice_.threads, choice_.slots);
    choice_.prompt_token_s = table_.PromptTokenSeconds(choice_.threads, kChunk);
    SayBudget();
    return choice_;
  }

 private:
  double Step(int threads, int sequences) const {
    return table_.StepSeconds(threads, sequences, present_.depth);
  }

  // That may be used and that the table has.
  std::vector<int> KnownThreads() const {
    std::vector<int> known = table_.Threads();
    std::erase_if(known, [&](int threads) { return threads > limits_.cores; });
    return known;
  }

  int Fastest(const std::vector<int>& known, int sequences) const {
    return *std::ranges::min_element(known, {},
                                     [&](int threads) { return Step(threads, sequences); });
  }

  void ChooseSlots(int threads) {
    if (limits_.slots) {
      choice_.slots = *limits_.slots;
      choice_.slots_why = "as set: language.sequences";
      return;
    }
    if (Step(threads, 1) <= 0) {
      choice_.slots_why = "nothing is measured yet";
      return;
    }
    if (objectives_.inter_token) return SlotsWithin(threads, Seconds(*objectives_.inter_token));
    int slots = kUnstatedSlots;
    const auto each = [&](int sequences) { return Step(threads, sequences) / sequences; };
    while (slots * 2 <= kMostSlots && each(slots * 2) < (1 - kKnee) * each(slots)) slots *= 2;
    choice_.slots = slots;
    choice_.slots_why =
        fmt::format("no objective from token to token is set; a step of {} takes {:.1f} ms", slots,
                    Step(threads, slots) * 1e3);
  }

  void SlotsWithin(int threads, double objective_s) {
    int slots = 1;
    while (slots < kMostSlots && Step(threads, slots + 1) <= objective_s) ++slots;
    choice_.slots = slots;
    const double takes = Step(threads, slots);
    choice_.slots_why =
        takes > objective_s
            ? fmt::format("a step of one sequence takes {:.1f} ms, over the objective of {:.1f} ms",
                          takes * 1e3, objective_s * 1e3)
            : fmt::format("a step of {} takes {:.1f} of the {:.1f} ms from token to token", slots,
                          takes * 1e3, objective_s * 1e3);
  }

  int Expected(int threads, int slots) const {
    if (forecast_.arrivals_s <= 0) return 1;
    const double answer = forecast_.answer_tokens > 0 ? forecast_.answer_tokens : 1;
    const double prompt_s =
        forecast_.prompt_tokens * std::max(0.0, table_.PromptTokenSeconds(threads, kChunk));
    for (int b = 1; b < slots; ++b) {
      const double step = Step(threads, b);
      if (step <= 0) return 1;
      if (b / (answer * step + b * prompt_s) >= forecast_.arrivals_s) return b;
    }
    return slots;
  }

  void ChooseThreads(const std::vector<int>& known) {
    if (limits_.threads) {
      choice_.threads = choice_.least_threads = std::min(*limits_.threads, limits_.cores);
      choice_.threads_why = "as set: threads";
      return;
    }
    if (known.empty()) {
      choice_.threads_why = "nothing is measured yet: all cores";
      return;
    }
    const int expected = choice_.expected;
    const double best = Step(Fastest(known, expected), expected);
    const auto near = [&](int threads) { return Step(threads, expected) <= kNearBest * best; };
    const auto keeps = [&](int threads) {
      return !objectives_.inter_token ||
             Step(threads, expected) <= Seconds(*objectives_.inter_token);
    };
    const int nearest = *std::ranges::find_if(known, near);
    const auto fewest = std::ranges::find_if(known, keeps);
    choice_.least_threads = fewest == known.end() ? nearest : std::min(*fewest, nearest);
    choice_.threads = limits_.save_power ? choice_.least_threads : nearest;
    choice_.threads_why = fmt::format(
        "{}: a step of the {} expected takes {:.1f} ms, at best {:.1f}",
        limits_.save_power ? "the fewest that keep the objective" : "the fewest near the best",
        expected, Step(choice_.threads, expected) * 1e3, best * 1e3);
  }

  void ChooseCells() {
    if (limits_.cells) {
      choice_.cells = *limits_.cells;
      choice_.cells_why = "as set: language.cache_tokens";
      return;
    }
    if (forecast_.long_sequence <= 0) {
      choice_.cells_why = "no lengths are known yet";
      return;
    }
    const int64_t context = std::max<int64_t>(limits_.context, 1);
    const int64_t wanted = 2 * choice_.slots * std::min(forecast_.long_sequence, context);
    int64_t most = choice_.slots * context;
    const int64_t cell = table_.memory.cell_bytes;
    if (limits_.memory_bytes > 0 && cell > 0) {
      most = std::min(most, limits_.memory_bytes / cell);
    } else {
      most = std::min(most, present_.cells);
    }
    const int64_t grained = (wanted + kCellGrain - 1) / kCellGrain * kCellGrain;
    choice_.cells = std::max(context, std::min(grained, most));
    choice_.cells_why =
        fmt::format("{} sequences of {} tokens, twice{}", choice_.slots, forecast_.long_sequence,
                    choice_.cells == context ? "; at least one whole context"
                    : grained > most         ? "; less for want of memory"
                                             : "");
  }

  void SayBudget() {
    if (choice_.prompt_token_s <= 0 || choice_.step_s <= 0) {
      choice_.budget_why = "nothing is measured yet";
      return;
    }
    const double base = Step(choice_.threads, choice_.expected);
    choice_.budget_why =
        fmt::format("a step of the {} expected takes {:.1f} ms, a prompt token {:.2f} ms",
                    choice_.expected, base * 1e3, choice_.prompt_token_s * 1e3);
  }

  const LlmLoadTable& table_;
  const LlmForecast& forecast_;
  const LlmObjectives& objectives_;
  const LlmLimits& limits_;
  const LlmPresent& present_;
  LlmChoice choice_;
};

}  // namespace

int64_t WorkerBytes(const LlmMemory& memory, int64_t cells) {
  if (memory.weight_bytes <= 0 || memory.cell_bytes <= 0 || memory.other_bytes <= 0) return 0;
  const int64_t used = memory.weight_bytes + cells * memory.cell_bytes + memory.other_bytes;
  return used + used / 4 + kSpareBytes;
}

int64_t ContainerBytes(int64_t needed, int64_t present) {
  if (needed <= 0) return 0;
  const int64_t wanted = (needed + kContainerGrain - 1) / kContainerGrain * kContainerGrain;
  return wanted > present || wanted < present / 4 * 3 ? wanted : present;
}

LlmChoice ChooseLlm(const LlmLoadTable& table, const LlmForecast& forecast,
                    const LlmObjectives& objectives, const LlmLimits& limits,
                    const LlmPresent& present) {
  return Chooser(table, forecast, objectives, limits, present).Choose();
}

}  // namespace evenkeel::policy
