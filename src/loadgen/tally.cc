#include "loadgen/tally.h"

#include <algorithm>
#include <utility>

#include "core/check.h"

namespace evenkeel::loadgen {
namespace {

constexpr size_t kMessageLimit = 300;
constexpr size_t kWindowLimit = 100'000;  // later windows are folded into the last one

}  // namespace

const char* NameOf(NoAnswer why) {
  switch (why) {
    case NoAnswer::kTimeout: return "timeout";
    case NoAnswer::kClosed: return "closed";
    case NoAnswer::kConnect: return "connect";
    case NoAnswer::kMalformed: return "malformed";
    case NoAnswer::kInterrupted: return "interrupted";
  }
  return "?";
}

uint64_t Counts::errors_total() const {
  uint64_t n = 0;
  for (const auto& [status, error] : errors) n += error.count;
  return n;
}

uint64_t Counts::unanswered_total() const {
  uint64_t n = 0;
  for (const uint64_t count : unanswered) n += count;
  return n;
}

void TokenCounts::Merge(const TokenCounts& other) {
  prompt += other.prompt;
  cached += other.cached;
  output += other.output;
  arrived += other.arrived;
  first.Merge(other.first);
  gaps.Merge(other.gaps);
}

void Counts::Merge(const Counts& other) {
  sent += other.sent;
  ok += other.ok;
  good += other.good;
  wrong += other.wrong;
  for (size_t i = 0; i < unanswered.size(); ++i) unanswered[i] += other.unanswered[i];
  for (const auto& [status, error] : other.errors) {
    ErrorTally& mine = errors[status];
    if (mine.count == 0) mine.first_message = error.first_message;
    mine.count += error.count;
    mine.latency.Merge(error.latency);
  }
  latency.Merge(other.latency);
  lateness.Merge(other.lateness);
  compute.Merge(other.compute);
  added.Merge(other.added);
  ok_arrived += other.ok_arrived;
  ok_rows_arrived += other.ok_rows_arrived;
  good_arrived += other.good_arrived;
  tokens.Merge(other.tokens);
}

void Window::Merge(const Window& other) {
  sent += other.sent;
  ok += other.ok;
  failed += other.failed;
  unanswered += other.unanswered;
  latency.Merge(other.latency);
}

Tally::Tally(int stages, std::vector<Objectives> objectives, Duration window)
    : stages_(stages),
      objectives_(std::move(objectives)),
      window_(window),
      counts_(static_cast<size_t>(stages) * objectives_.size()) {}

Window* Tally::WindowOf(const InFlight& r) {
  if (window_ <= Duration::zero()) return nullptr;
  const size_t i = std::min(static_cast<size_t>(r.intended / window_), kWindowLimit - 1);
  if (i >= timeline_.size()) timeline_.resize(i + 1);
  return &timeline_[i];
}

void Tally::Sent(const InFlight& r) {
  Counts& c = counts_[Index(r.stage, r.model)];
  ++c.sent;
  c.lateness.Record((r.sent - r.intended).count());
  if (Window* w = WindowOf(r)) ++w->sent;
}

void Tally::Ok(const InFlight& r, Duration now, int current_stage, Duration compute) {
  const Duration latency = now - r.intended;
  CountOk(r, latency, current_stage, latency <= objectives_[static_cast<size_t>(r.model)].whole);
  if (compute < Duration::zero()) return;
  Counts& c = counts_[Index(r.stage, r.model)];
  c.compute.Record(compute.count());
  c.added.Record((latency - compute).count());
}

void Tally::OkStream(const InFlight& r, Duration now, int current_stage,
                     const TokenStream& answer) {
  const Objectives& objectives = objectives_[static_cast<size_t>(r.model)];
  const Duration latency = now - r.intended;
  const Duration first = answer.first().value_or(now) - r.intended;
  CountOk(r, latency, current_stage,
          latency <= objectives.whole && first <= objectives.first_token &&
              answer.MeanGap() <= objectives.inter_token);
  TokenCounts& tokens = counts_[Index(r.stage, r.model)].tokens;
  tokens.prompt += answer.prompt_tokens();
  tokens.cached += answer.cached_tokens();
  tokens.output += answer.output_tokens();
  if (answer.first()) tokens.first.Record(first.count());
  for (const Duration gap : answer.gaps()) tokens.gaps.Record(gap.count());
  // Those that came without an event of their own.
  if (answer.output_tokens() > answer.seen())
    TokensArrived(r, answer.output_tokens() - answer.seen(), current_stage);
}

void Tally::TokensArrived(const InFlight& r, uint64_t tokens, int current_stage) {
  if (current_stage >= 0) counts_[Index(current_stage, r.model)].tokens.arrived += tokens;
}

void Tally::CountOk(const InFlight& r, Duration latency, int current_stage, bool good) {
  Counts& c = counts_[Index(r.stage, r.model)];
  ++c.ok;
  if (good) ++c.good;
  c.latency.Record(latency.count());
  if (current_stage >= 0) {
    Counts& arrived = counts_[Index(current_stage, r.model)];
    ++arrived.ok_arrived;
    arrived.ok_rows_arrived += static_cast<uint64_t>(r.rows);
    if (good) ++arrived.good_arrived;
  }
  if (Window* w = WindowOf(r)) {
    ++w->ok;
    w->latency.Record(latency.count());
  }
}

void Tally::Wrong(const InFlight& r, Duration now) {
  Counts& c = counts_[Index(r.stage, r.model)];
  ++c.wrong;
  c.latency.Record((now - r.intended).count());
  if (Window* w = WindowOf(r)) ++w->failed;
}

void Tally::Error(const InFlight& r, Duration now, const std::string& status,
                  std::string_view message) {
  ErrorTally& e = counts_[Index(r.stage, r.model)].errors[status];
  if (e.count++ == 0) e.first_message = std::string(message.substr(0, kMessageLimit));
  e.latency.Record((now - r.intended).count());
  if (Window* w = WindowOf(r)) ++w->failed;
}

void Tally::Unanswered(const InFlight& r, NoAnswer why) {
  ++counts_[Index(r.stage, r.model)].unanswered[static_cast<size_t>(why)];
  if (Window* w = WindowOf(r)) ++w->unanswered;
}

void Tally::Merge(const Tally& other) {
  EK_CHECK(counts_.size() == other.counts_.size());
  for (size_t i = 0; i < counts_.size(); ++i) counts_[i].Merge(other.counts_[i]);
  if (timeline_.size() < other.timeline_.size()) timeline_.resize(other.timeline_.size());
  for (size_t i = 0; i < other.timeline_.size(); ++i) timeline_[i].Merge(other.timeline_[i]);
}

}  // namespace evenkeel::loadgen
