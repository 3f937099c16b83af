// Decides when the next request is to be sent, for one thread of a run made of stages.
//
// A stage is closed loop (keep `concurrency` requests in flight) or open loop (send at its
// arrivals, whatever is in flight). It ends after `duration`, or once `requests` were sent and
// answered, whichever comes first; the next stage starts then. Requests in flight when a timed
// stage ends go on, and belong to the stage that sent them.
// Contract: Take() returns a request at most once, in order of intended time; after the last stage
//   it returns nothing. In an open loop a request that is due while `outstanding` is at the cap is
//   delayed, keeps its intended time, and is counted in held_back(); those still not sent when
//   their stage ends are counted in not_sent().
// Units: times are offsets from the start of the run.
// Thread-safety: single-owner.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "core/clock.h"
#include "loadgen/arrivals.h"

namespace evenkeel::loadgen {

// What one stage offers, for all threads together.
struct Stage {
  std::string name;      // shown in reports
  bool warm_up = false;  // reported apart, left out of the totals
  int concurrency = 0;   // closed loop when > 0
  double rate_rps = 0;   // open loop when > 0 (trace: the mean rate that `trace_s` was scaled to)
  ArrivalKind arrivals = ArrivalKind::kPoisson;
  std::shared_ptr<const std::vector<double>> trace_s;  // kTrace only; already scaled
  Duration duration = Duration::max();                 // max(): until `requests`
  uint64_t requests = 0;                               // 0: until `duration`
};

class Pacer {
 public:
  struct Due {
    int stage = 0;
    Duration intended{};
  };

  // REQUIRES: every stage has a concurrency or a rate, and a duration or a number of requests (or a
  // trace). `cap`: requests this thread may have in flight in an open loop.
  Pacer(std::vector<Stage> stages, Part part, int cap, uint64_t seed);

  // The next request to send at `now`, given what is in flight; nullopt when none is due yet.
  std::optional<Due> Take(Duration now, int outstanding);
  // When Take() may return something even if nothing is answered before; max(): only after an
  // answer, or never.
  Duration NextWake() const;
  // True once nothing will be sent any more.
  bool Finished() const { return current_ == stages_.size(); }

  // The current stage keeps a number of requests in flight.
  bool closed_loop() const { return !Finished() && stages_[current_].concurrency > 0; }
  // The stage that an answer at `now` falls into; -1 after the last one.
  int StageAt(Duration now) const;

  // When each stage began and ended (max(): not yet).
  Duration started(int stage) const { return states_[static_cast<size_t>(stage)].started; }
  Duration ended(int stage) const { return states_[static_cast<size_t>(stage)].ended; }
  uint64_t held_back(int stage) const { return states_[static_cast<size_t>(stage)].held_back; }
  uint64_t not_sent(int stage) const { return states_[static_cast<size_t>(stage)].not_sent; }

  // Ends every stage now (the user interrupted).
  void Stop(Duration now);

 private:
  struct State {
    Duration started = Duration::max();
    Duration ended = Duration::max();
    uint64_t budget = UINT64_MAX;  // requests still to send
    int concurrency = 0;           // this thread's share
    uint64_t held_back = 0;
    uint64_t not_sent = 0;
  };

  Duration EndOfCurrent() const;
  void Begin(Duration at);
  void End(Duration at);
  void PullArrival();
  void CountLeftOver(Duration until);
  std::optional<Due> TakeOpen(Duration now, int outstanding);

  const std::vector<Stage> stages_;
  const Part part_;
  const int cap_;
  const uint64_t seed_;
  std::vector<State> states_;
  size_t current_ = 0;
  std::unique_ptr<Arrivals> arrivals_;    // of the current stage when open
  std::optional<Duration> next_arrival_;  // offset from the start of the run
  bool held_ = false;                     // next_arrival_ was already counted as held back
};

}  // namespace evenkeel::loadgen
