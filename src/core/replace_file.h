// Replaces a file as a whole or not at all.
//
// Contract: writes PATH.tmp (mode 0600, no link followed), syncs it, renames it over PATH and syncs the folder. A crash, a full disk or an error at
//   any moment leaves the earlier file as it was; what is left of PATH.tmp is overwritten the next time. What root writes belongs to the owner of the
//   folder (core/file_owner.h). Blocks on the disk.
// Errors: kUnavailable with the path and the system's text.
// Thread-safety: thread-safe, but for two writers of one path.
#pragma once

#include <string>
#include <string_view>

#include "core/status.h"

namespace evenkeel {

inline constexpr std::string_view kTemporarySuffix = ".tmp";

Status ReplaceFile(const std::string& path, std::string_view bytes);

}  // namespace evenkeel
