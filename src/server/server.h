// Runs the daemon until SIGTERM or SIGINT, then drains it.
//
// Thread-safety: call once, from the main thread, before any other thread exists.
#pragma once

#include "server/serve_options.h"

namespace evenkeel {

// Returns the exit code of the process: 0 after a clean drain; else a message has been written to stderr.
int RunServer(const ServeOptions& options);

}  // namespace evenkeel
