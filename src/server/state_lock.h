// Keeps two daemons off one state folder.
//
// Contract: holds an flock on FOLDER/lock for its life; the kernel lets go of it however the process ends.
// Errors: kConflict naming the folder and the holder's process id, kUnavailable when the folder cannot be made or written.
// Thread-safety: single-owner.
#pragma once

#include <memory>
#include <string>

#include "core/status.h"

namespace evenkeel {

class StateLock {
 public:
  static Result<std::unique_ptr<StateLock>> Take(const std::string& folder);
  ~StateLock();

 private:
  explicit StateLock(int fd) : fd_(fd) {}
  const int fd_;
};

}  // namespace evenkeel
