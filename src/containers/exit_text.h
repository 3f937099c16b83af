// How a process ended, in words: "exit 3", "signal 9 (Killed)".
// Thread-safety: thread-safe.
#pragma once

#include <string>

namespace evenkeel {

// `status` as waitpid() gives it.
std::string DescribeExit(int status);

}  // namespace evenkeel
