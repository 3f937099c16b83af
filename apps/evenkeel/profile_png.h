// Pictures as PNG, made by the program evenkeel-svg-png in libexec: `evenkeel` itself links no graphics library.
//
// How: the SVG document is its stdin, the picture its stdout, both files in memory; nothing of it is in this process.
// Contract: blocks until it ended, `limit` at most, then it is killed. Error kUnavailable: it is not there, does not start or fails; the
//   text says what to do. Thread-safety: thread-safe.
#pragma once

#include <string>
#include <string_view>

#include "core/clock.h"
#include "core/status.h"

namespace evenkeel {

Result<std::string> RenderPng(const std::string& libexec, std::string_view svg,
                              Duration limit = std::chrono::seconds(30));

// Whether RenderPng() can do its work here, as errors of RenderPng(): to be asked before what takes long.
Status CheckPng(const std::string& libexec);

}  // namespace evenkeel
