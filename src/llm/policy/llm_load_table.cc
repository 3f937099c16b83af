#include "llm/policy/llm_load_table.h"

#include <algorithm>
#include <bit>
#include <cmath>

#include "core/check.h"

namespace evenkeel::policy {
namespace {

constexpr int kExactSequences = 32;
constexpr int kLeastDepth = 128;
constexpr int kLargest = 1 << 30;
constexpr double kLeastSpread = 0.02;  // of the mean: timers and caches alone scatter so much

int NextPowerOfTwo(int value) {
  return static_cast<int>(std::bit_ceil(static_cast<unsigned>(std::clamp(value, 1, kLargest))));
}

// How far apart two sizes are, whichever is larger.
double Distance(int a, int b) { return std::abs(std::log(static_cast<double>(a) / b)); }

Duration FromSeconds(double seconds) { return Duration(static_cast<int64_t>(seconds * 1e9)); }

}  // namespace

StepCell LlmLoadTable::CellOf(const StepCell& step) {
  EK_CHECK(step.threads >= 1 && step.sequences >= 0 && step.depth >= 0 && step.prompt_tokens >= 0);
  StepCell cell{step.threads, 0, 0, 0};
  if (step.prompt_tokens > 0) {
    cell.prompt_tokens = NextPowerOfTwo(std::max(step.prompt_tokens, kLeastPrompt));
    return cell;
  }
  const int sequences = std::min(step.sequences, kLargest - 8);
  cell.sequences = sequences <= kExactSequences ? sequences : (sequences + 7) / 8 * 8;
  cell.depth = NextPowerOfTwo(std::max(step.depth, kLeastDepth));
  return cell;
}

LlmLoadTable::Kept* LlmLoadTable::Find(const StepCell& cell) {
  const auto at =
      std::ranges::lower_bound(rows_, cell, {}, [](const Kept& kept) { return kept.row.cell; });
  return at != rows_.end() && at->row.cell == cell ? &*at : nullptr;
}

const LlmLoadTable::Kept* LlmLoadTable::Find(const StepCell& cell) const {
  return const_cast<LlmLoadTable*>(this)->Find(cell);
}

void LlmLoadTable::Put(const StepRow& row) {
  EK_CHECK(row.mean_s > 0 && row.steps >= 1 &&
           (row.cell.sequences > 0) != (row.cell.prompt_tokens > 0));
  if (Kept* known = Find(row.cell)) {
    *known = {row, ++observations_};
    return;
  }
  if (rows_.size() == kMostRows) rows_.erase(std::ranges::min_element(rows_, {}, &Kept::stamp));
  const auto at =
      std::ranges::lower_bound(rows_, row.cell, {}, [](const Kept& kept) { return kept.row.cell; });
  rows_.insert(at, {row, ++observations_});
}

void LlmLoadTable::Observe(const StepCell& step, Duration took) {
  if (took <= Duration::zero() || (step.sequences == 0 && step.prompt_tokens == 0)) return;
  double seconds = Seconds(took);
  if (step.prompt_tokens == 0) return Record(CellOf(step), seconds);
  if (step.prompt_tokens < kLeastPrompt) return;
  if (step.sequences > 0) {
    const double answers = StepSeconds(step.threads, step.sequences, step.depth);
    if (answers <= 0 || seconds <= answers) return;
    seconds -= answers;
  }
  const StepCell cell = CellOf({step.threads, 0, 0, step.prompt_tokens});
  Record(cell, seconds * cell.prompt_tokens / step.prompt_tokens);
}

void LlmLoadTable::Record(const StepCell& cell, double seconds) {
  Kept* kept = Find(cell);
  if (kept == nullptr) return Put({cell, seconds, 0, 1});
  StepRow& row = kept->row;
  kept->stamp = ++observations_;
  if (row.steps < kFirst && seconds < row.mean_s / 2) {
    row = {cell, seconds, 0, 1};  // those before were stalls
    return;
  }
  ++row.steps;
  const double reach = kReach * std::max(row.spread_s, kLeastSpread * row.mean_s);
  const double seen =
      row.steps <= kFirst ? seconds : std::clamp(seconds, row.mean_s - reach, row.mean_s + reach);
  const double weight = 1.0 / static_cast<double>(std::min(row.steps, kRemembered));
  row.mean_s += weight * (seen - row.mean_s);
  row.spread_s += weight * (std::abs(seen - row.mean_s) - row.spread_s);
}

std::vector<StepRow> LlmLoadTable::rows() const {
  std::vector<StepRow> all;
  for (const Kept& kept : rows_) all.push_back(kept.row);
  return all;
}

std::vector<int> LlmLoadTable::Threads() const {
  std::vector<int> threads;
  for (const Kept& kept : rows_) {
    const StepCell& cell = kept.row.cell;
    if (cell.sequences > 0 && (threads.empty() || threads.back() != cell.threads))
      threads.push_back(cell.threads);
  }
  return threads;
}

bool LlmLoadTable::Knows(const StepCell& step, int64_t steps) const {
  const Kept* kept = Find(CellOf(step));
  return kept != nullptr && kept->row.steps >= steps;
}

void LlmLoadTable::ForgetBefore(uint64_t mark) {
  std::erase_if(rows_, [&](const Kept& kept) { return kept.stamp <= mark; });
}

BatchCurve LlmLoadTable::CurveOf(int threads, int depth) const {
  BatchCurve curve;
  int sequences = 0;
  double nearest = 0;
  for (const Kept& kept : rows_) {
    const StepCell& cell = kept.row.cell;
    if (cell.threads != threads || cell.sequences == 0) continue;
    // Rows of one number of sequences follow each other, by depth.
    const double distance = Distance(cell.depth, std::max(depth, 1));
    if (cell.sequences == sequences && distance >= nearest) continue;
    sequences = cell.sequences;
    nearest = distance;
    const Duration mean = std::max(FromSeconds(kept.row.mean_s), Duration(1));
    curve.Set(cell.sequences, mean, mean);
  }
  return curve;
}

double LlmLoadTable::StepSeconds(int threads, int sequences, int depth) const {
  return Seconds(CurveOf(threads, depth).Mean(std::max(sequences, 1)));
}

double LlmLoadTable::PromptTokenSeconds(int threads, int prompt_tokens) const {
  const StepRow* best = nullptr;
  for (const Kept& kept : rows_) {
    const StepCell& cell = kept.row.cell;
    if (cell.threads != threads || cell.prompt_tokens == 0) continue;
    const auto distance = [&](const StepRow& row) {
      return Distance(row.cell.prompt_tokens, std::max(prompt_tokens, 1));
    };
    if (best == nullptr || distance(kept.row) < distance(*best)) best = &kept.row;
  }
  return best == nullptr ? 0 : best->mean_s / best->cell.prompt_tokens;
}

}  // namespace evenkeel::policy
