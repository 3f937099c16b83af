// The requests of one model that wait, in order of arrival.
//
// Contract: O(1) amortised. All requests of a queue have the same rows and the same time from arrival to deadline, so the head has the
//   earliest deadline. Thread-safety: single-owner.
#pragma once

#include <cstddef>
#include <vector>

#include "core/clock.h"

namespace evenkeel::sim {

class SimQueue {
 public:
  bool empty() const { return head_ == arrivals_.size(); }
  size_t size() const { return arrivals_.size() - head_; }
  Time front() const { return arrivals_[head_]; }  // REQUIRES: !empty()
  void Push(Time arrived) { arrivals_.push_back(arrived); }
  void Pop() {
    if (++head_ >= kCompactAt && head_ * 2 >= arrivals_.size()) {
      arrivals_.erase(arrivals_.begin(), arrivals_.begin() + static_cast<std::ptrdiff_t>(head_));
      head_ = 0;
    }
  }

 private:
  static constexpr size_t kCompactAt = 1024;
  std::vector<Time> arrivals_;
  size_t head_ = 0;
};

}  // namespace evenkeel::sim
