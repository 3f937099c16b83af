// Which files a program needs to run: itself, the loader, its libraries, and the folders of libraries that bring plugins.
//
// Contract: the loader is asked for the libraries (nothing of the program runs). A library outside the system's folders stands
//   for its whole folder, because engines open plugins from there by themselves; the plugins' own libraries are asked for too.
// Errors: kUnavailable (no such program, libraries that are not found, named). Takes tens of milliseconds: keep the answer.
// Thread-safety: thread-safe.
#pragma once

#include <string>
#include <vector>

#include "core/status.h"

namespace evenkeel {

// Absolute paths of files and folders, sorted, each once, none below another.
Result<std::vector<std::string>> FilesOfProgram(const std::string& program);

}  // namespace evenkeel
