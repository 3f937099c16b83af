// Copies the files of a model to where they are checked, and digests them on the way.
//
// Contract: only regular files and folders are copied; links and devices are refused by name. What was written is read back and compared.
//   The digest of a file is the SHA-256 of its bytes; that of a folder the SHA-256 of the lines "DIGEST  PATH\n" of its files, by path.
//   Errors name the path; kCancelled once `interrupt` says so.
// Thread-safety: main thread only.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "core/clock.h"
#include "core/status.h"

namespace evenkeel {

struct PullFile {
  std::string from;
  std::string to;  // relative to the target
  uint64_t bytes = 0;
};

struct PullPlan {
  std::vector<PullFile> files;  // by `to`
  uint64_t bytes = 0;
  bool folder = false;  // `files` belong below a folder
};

// What is to be copied of a file or a folder. A model of two files that stands alone (x.xml and x.bin, x.pdmodel and x.pdiparams) becomes a
// folder.
Result<PullPlan> PlanPull(const std::string& path);

struct PullProgress {
  std::function<void(uint64_t done)> report;  // now and then
  std::function<bool()> stopped;
};

// Copies into `target`, which is there, and gives the digest in hexadecimal digits.
Result<std::string> CopyPlan(const PullPlan& plan, const std::string& target,
                             const PullProgress& progress);

}  // namespace evenkeel
