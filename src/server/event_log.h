// What a server did of its own accord, and why: the last kMost lines, newest last.
//
// Thread-safety: thread-safe. Source: issue S4, "an event log says why each move was made".
#pragma once

#include <cstdint>
#include <deque>
#include <mutex>
#include <string>
#include <vector>

namespace evenkeel {

class EventLog {
 public:
  static constexpr size_t kMost = 100;

  struct Event {
    int64_t unix_ms = 0;
    std::string what, why;
  };

  // Goes to the log, too.
  void Note(std::string what, std::string why);
  std::vector<Event> Last() const;

 private:
  mutable std::mutex mutex_;
  std::deque<Event> events_;
};

}  // namespace evenkeel
