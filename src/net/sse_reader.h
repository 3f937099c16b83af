// Takes a stream of server-sent events apart, in whatever pieces it arrives.
//
// Contract: Feed() calls `on_data` with the data of each event as it is complete; lines of data are joined by line feeds, comments and
//   other fields are passed over. An event that the stream ends in the middle of is not reported. Error kTooLarge once an event or line is
//   larger than `max_event_bytes`; after it nothing is read.
// Thread-safety: single-owner.
#pragma once

#include <functional>
#include <string>
#include <string_view>

#include "core/status.h"

namespace evenkeel {

class SseReader {
 public:
  explicit SseReader(size_t max_event_bytes = size_t{16} << 20) : limit_(max_event_bytes) {}
  Status Feed(std::string_view bytes, const std::function<void(std::string_view)>& on_data);

 private:
  void EndLine(const std::function<void(std::string_view)>& on_data);

  const size_t limit_;
  std::string line_, data_;
  bool has_data_ = false;
  bool after_return_ = false;  // a line feed now belongs to the line end before
  bool failed_ = false;
};

}  // namespace evenkeel
