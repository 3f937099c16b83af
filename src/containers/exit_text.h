// How a process ended, in words: "exit 3", "signal 9 (Killed)".
// Thread-safety: thread-safe.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace evenkeel {

// `status` as waitpid() gives it.
std::string DescribeExit(int status);

// What is put behind it where the kernel killed to keep a limit of memory, and whether a text says so.
std::string OutOfMemoryText(int64_t allowed_bytes);
bool SaysOutOfMemory(std::string_view how);

}  // namespace evenkeel
