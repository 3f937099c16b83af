// One line on stderr that says how far a thing is, how fast it goes and how long it will still take.
//
// Contract: nothing is drawn where animation is not wanted (see AnimationAllowed), nor in the first two seconds; Erase() and the destructor
//   leave nothing of it behind. A line is never longer than the terminal is wide.
// Thread-safety: single-owner.
#pragma once

#include <chrono>
#include <string>

#include "core/clock.h"

namespace evenkeel {

class ProgressLine {
 public:
  static constexpr Duration kQuiet = std::chrono::seconds(2);

  ProgressLine();
  ~ProgressLine();
  ProgressLine(const ProgressLine&) = delete;
  ProgressLine& operator=(const ProgressLine&) = delete;

  bool live() const { return live_; }
  Duration elapsed() const;
  // `share`: how much is done, 0 to 1; negative where nobody knows, which draws no bar. `text` stands behind the bar.
  void Draw(double share, const std::string& text);
  void Erase();

 private:
  const bool live_;
  const Time started_;
  bool drawn_ = false;
};

// "[######..................]": `share` of it filled.
std::string ProgressBar(double share);

// "12 s", "3 min 20 s"; at least "1 s".
std::string TimeLeftText(double seconds);

}  // namespace evenkeel
