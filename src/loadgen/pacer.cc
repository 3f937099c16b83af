#include "loadgen/pacer.h"

#include <algorithm>

#include "core/check.h"

namespace evenkeel::loadgen {
namespace {

// This part's share of n things dealt out one by one.
uint64_t Share(uint64_t n, Part part) {
  const auto count = static_cast<uint64_t>(part.count);
  return n / count + (static_cast<uint64_t>(part.index) < n % count ? 1 : 0);
}

}  // namespace

Pacer::Pacer(std::vector<Stage> stages, Part part, int cap, uint64_t seed)
    : stages_(std::move(stages)),
      part_(part),
      cap_(std::max(cap, 1)),
      seed_(seed),
      states_(stages_.size()) {
  for (size_t i = 0; i < stages_.size(); ++i) {
    const Stage& s = stages_[i];
    EK_CHECK((s.concurrency > 0) != (s.rate_rps > 0));
    EK_CHECK(s.duration != Duration::max() || s.requests > 0 || s.trace_s);
    if (s.requests > 0) states_[i].budget = Share(s.requests, part_);
    states_[i].concurrency = static_cast<int>(Share(static_cast<uint64_t>(s.concurrency), part_));
  }
  if (!Finished()) Begin(Duration::zero());
}

Duration Pacer::EndOfCurrent() const {
  const Duration duration = stages_[current_].duration;
  return duration == Duration::max() ? Duration::max() : states_[current_].started + duration;
}

void Pacer::Begin(Duration at) {
  const Stage& s = stages_[current_];
  states_[current_].started = at;
  arrivals_.reset();
  next_arrival_.reset();
  held_ = false;
  if (s.concurrency > 0) return;
  const uint64_t seed = seed_ * 31 + current_;
  switch (s.arrivals) {
    case ArrivalKind::kPoisson: arrivals_ = PoissonArrivals(s.rate_rps, seed, part_); break;
    case ArrivalKind::kConstant: arrivals_ = ConstantArrivals(s.rate_rps, part_); break;
    case ArrivalKind::kTrace: arrivals_ = TraceArrivals(s.trace_s, part_); break;
  }
  PullArrival();
}

void Pacer::End(Duration at) {
  CountLeftOver(at);
  states_[current_].ended = at;
  ++current_;
  if (Finished()) {
    next_arrival_.reset();
  } else {
    Begin(at);
  }
}

void Pacer::PullArrival() {
  next_arrival_ = arrivals_->Next();
  if (next_arrival_) *next_arrival_ += states_[current_].started;
  held_ = false;
}

// Arrivals of an ending open stage that were due and never sent, because the cap held them.
void Pacer::CountLeftOver(Duration until) {
  State& state = states_[current_];
  while (next_arrival_ && *next_arrival_ < until && state.budget > 0) {
    ++state.not_sent;
    --state.budget;
    PullArrival();
  }
}

std::optional<Pacer::Due> Pacer::Take(Duration now, int outstanding) {
  while (!Finished()) {
    State& state = states_[current_];
    const Duration end = EndOfCurrent();
    // An arrival that was due before the end is sent even if this thread wakes a little after it.
    const bool due = next_arrival_ && state.budget > 0 && *next_arrival_ < std::min(end, now);
    if (now >= end && !(due && outstanding < cap_)) {
      End(end);
      continue;
    }
    if (state.budget == 0 || (arrivals_ && !next_arrival_)) {
      // All sent: the stage lasts until the last one is answered.
      if (outstanding > 0) return std::nullopt;
      End(now);
      continue;
    }
    if (arrivals_) return TakeOpen(now, outstanding);
    if (outstanding >= state.concurrency) return std::nullopt;
    --state.budget;
    return Due{static_cast<int>(current_), now};
  }
  return std::nullopt;
}

std::optional<Pacer::Due> Pacer::TakeOpen(Duration now, int outstanding) {
  State& state = states_[current_];
  if (*next_arrival_ > now) return std::nullopt;
  if (outstanding >= cap_) {
    if (!held_) ++state.held_back;
    held_ = true;
    return std::nullopt;
  }
  const Due due{static_cast<int>(current_), *next_arrival_};
  --state.budget;
  PullArrival();
  return due;
}

Duration Pacer::NextWake() const {
  if (Finished()) return Duration::max();
  const State& state = states_[current_];
  const Duration end = EndOfCurrent();
  // A held-back arrival waits for an answer, not for a time.
  if (next_arrival_ && !held_ && state.budget > 0) return std::min(*next_arrival_, end);
  return end;
}

int Pacer::StageAt(Duration now) const {
  if (Finished()) return -1;
  if (now < EndOfCurrent()) return static_cast<int>(current_);
  return current_ + 1 < stages_.size() ? static_cast<int>(current_ + 1) : -1;
}

void Pacer::Stop(Duration now) {
  if (Finished()) return;
  states_[current_].ended = now;
  current_ = stages_.size();
  next_arrival_.reset();
}

}  // namespace evenkeel::loadgen
