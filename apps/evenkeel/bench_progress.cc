#include "bench_progress.h"

#include <algorithm>
#include <limits>

#include "core/format.h"

namespace evenkeel {
namespace {

constexpr double kEndless = std::numeric_limits<double>::infinity();

// How long `stage` takes by itself; kEndless: until its requests are answered.
double ClockedSeconds(const loadgen::Stage& stage) {
  const bool timed = stage.duration != Duration::max();
  double seconds = timed ? Seconds(stage.duration) : kEndless;
  if (stage.concurrency == 0 && stage.requests > 0 && stage.rate_rps > 0)
    seconds = std::min(seconds, static_cast<double>(stage.requests) / stage.rate_rps);
  if (stage.trace_s && !stage.trace_s->empty()) seconds = std::min(seconds, stage.trace_s->back());
  return seconds;
}

}  // namespace

BenchProgress::BenchProgress(const loadgen::LoadPlan& plan) {
  for (const loadgen::Stage& stage : plan.stages) {
    const double seconds = ClockedSeconds(stage);
    if (seconds < kEndless) {
      timed_s_ += seconds;
    } else {
      counted_requests_ += static_cast<double>(stage.requests);
    }
  }
}

void BenchProgress::Show(double seconds, const loadgen::Progress& progress) {
  const uint64_t answered = progress.answered.load();
  const uint64_t failed = progress.failed.load();
  const double per_s = static_cast<double>(answered - shown_answered_) /
                       std::max(seconds - shown_s_, std::numeric_limits<double>::epsilon());
  shown_s_ = seconds;
  shown_answered_ = answered;
  double total_s = timed_s_;
  if (counted_requests_ > 0)
    total_s +=
        answered > 0 ? counted_requests_ * seconds / static_cast<double>(answered) : kEndless;
  std::string text = fmt::format("{:.0f} s", seconds);
  if (total_s < kEndless) text += fmt::format(", {} left", TimeLeftText(total_s - seconds));
  text += fmt::format(", {:.0f}/s, {} answered, {} failed", per_s, answered, failed);
  line_.Draw(total_s < kEndless ? seconds / std::max(total_s, seconds) : -1, text);
}

}  // namespace evenkeel
