// Names and paths inside a models folder: what may be opened, and small text files read whole.
//
// Contract: nothing outside the given root is ever opened, however links and ".." are arranged at
// the time of the call. Roots are canonical absolute paths (see CanonicalFolder). Errors: kNotFound
// when nothing is there, kInvalidArgument when the path leaves the root or is no path, kTooLarge
// over a limit. Thread-safety: thread-safe.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "core/status.h"

namespace evenkeel {

// [A-Za-z0-9][A-Za-z0-9._-]{0,127}
bool IsModelName(std::string_view name);

// Absolute, without links. Error when it is no folder that can be read.
Result<std::string> CanonicalFolder(const std::string& folder);

// True when the canonical path `path` is `root` or lies beneath it.
bool IsInside(std::string_view root, std::string_view path);

// The canonical form of `path` (absolute), which must exist and lie inside `root`.
Result<std::string> ResolveInside(const std::string& root, const std::string& path);

// The same for a path that a file gives relative to `base` (inside `root`): absolute paths, "..",
// backslashes and control characters are refused as text, links that lead out by their target.
Result<std::string> ResolveRelative(const std::string& root, const std::string& base,
                                    std::string_view relative);

// The bytes of a regular file of at most `limit` bytes.
Result<std::string> ReadSmallFile(const std::string& path, size_t limit);

// Class names, one a line; trailing blanks and empty lines at the end dropped. UTF-8, at most 16
// MiB.
Result<std::vector<std::string>> ReadLabels(const std::string& path);

}  // namespace evenkeel
