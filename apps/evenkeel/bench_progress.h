// What `evenkeel bench` shows on a terminal while it runs.
//
// Contract: as ProgressLine. The time left is known where stages have durations, and estimated from the answers so far where a stage ends
//   after a number of requests.
// Thread-safety: single-owner.
#pragma once

#include "loadgen/load.h"
#include "progress_line.h"

namespace evenkeel {

class BenchProgress {
 public:
  explicit BenchProgress(const loadgen::LoadPlan& plan);

  // `seconds` have passed since the start; about twice a second.
  void Show(double seconds, const loadgen::Progress& progress);
  void Erase() { line_.Erase(); }

 private:
  ProgressLine line_;
  double timed_s_ = 0;           // of the stages that end by the clock
  double counted_requests_ = 0;  // of those that end by their answers
  double shown_s_ = 0;           // at the last Show()
  uint64_t shown_answered_ = 0;  // likewise
};

}  // namespace evenkeel
