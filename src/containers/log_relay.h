// Reads the stderr pipes of all workers on one thread and logs them line by line.
//
// Contract: lines are cut at 2,000 bytes, unprintable bytes become '?'; a worker that writes more than 100 lines a second loses the rest of that
//   second, and one line says how many. A pipe is closed when its writer is gone. What was read before the relay ends is logged.
// Thread-safety: thread-safe. The sink runs on the relay's thread.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

#include "core/clock.h"

namespace evenkeel {

class LogRelay {
 public:
  using Sink = std::function<void(std::string_view name, std::string_view line)>;

  LogRelay();  // to the daemon's log
  explicit LogRelay(Sink sink);
  ~LogRelay();

  // Takes the reading end of a pipe. `name` is put before its lines.
  void Add(int fd, std::string name);

 private:
  struct Source;
  struct Shared;

  void Loop();
  // False once the pipe is at its end.
  bool ReadFrom(Source& source);
  void Emit(Source& source, std::string_view line);

  const Sink sink_;
  std::unique_ptr<Shared> shared_;
  std::vector<std::unique_ptr<Source>> sources_;  // single-owner: the relay's thread
  std::thread thread_;
};

}  // namespace evenkeel
