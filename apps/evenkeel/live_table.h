// A table on stderr that is drawn over itself while something is under way; off a terminal nothing is drawn.
//
// Contract: a line is never longer than the terminal is wide, and the table never higher; Erase() and the destructor leave nothing of it behind.
// Thread-safety: single-owner.
#pragma once

#include <string>

namespace evenkeel {

class LiveTable {
 public:
  LiveTable();
  ~LiveTable();
  LiveTable(const LiveTable&) = delete;
  LiveTable& operator=(const LiveTable&) = delete;

  bool live() const { return live_; }
  void Draw(const std::string& text);  // lines, each ended
  void Erase();

 private:
  const bool live_;
  int lines_ = 0;  // that are drawn
};

}  // namespace evenkeel
