// Arrival times from a CSV file, plain or gzip-compressed.
//
// Contract: the first line names the columns; the column `t_s` holds seconds: finite, 0 or more,
//   ascending (equal ones are fine), as in the simulator; other columns are ignored, quoted fields are
//   understood. A file of bare numbers (one a line, no header) is read too. Errors (kInvalidArgument,
//   kNotFound) name file and line. At most 100 million arrivals.
// Thread-safety: thread-safe.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "core/status.h"

namespace evenkeel::loadgen {

// Ascending times in seconds.
Result<std::vector<double>> ReadTraceFile(const std::string& path);
// The same on text; `name` is for messages.
Result<std::vector<double>> ParseTrace(std::string_view text, std::string_view name);

// A whole file, unpacked when it is gzip. Error kNotFound or kInvalidArgument; refuses more than
// `max_bytes` unpacked.
Result<std::string> ReadFileMaybeGzip(const std::string& path, size_t max_bytes);

}  // namespace evenkeel::loadgen
