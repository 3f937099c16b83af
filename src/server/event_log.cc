#include "server/event_log.h"

#include <chrono>
#include <utility>

#include "core/log.h"

namespace evenkeel {

void EventLog::Note(std::string what, std::string why) {
  LogInfo("{}: {}", what, why);
  Event event;
  event.unix_ms = std::chrono::duration_cast<std::chrono::milliseconds>(
                      std::chrono::system_clock::now().time_since_epoch())
                      .count();
  event.what = std::move(what);
  event.why = std::move(why);
  const std::lock_guard lock(mutex_);
  events_.push_back(std::move(event));
  if (events_.size() > kMost) events_.pop_front();
}

std::vector<EventLog::Event> EventLog::Last() const {
  const std::lock_guard lock(mutex_);
  return {events_.begin(), events_.end()};
}

}  // namespace evenkeel
