// Files that nobody else may read, and that are never half there.
//
// Contract: what Write() said is done is on the disk, whole, also after a power cut; a reader sees the old content or the new one. Read() refuses a
//   file that others could have read or replaced. What root makes belongs to the owner of the folder (core/file_owner.h). What a process left beside that
//   ended while it wrote is removed by the next write in that folder.
// Errors: kUnavailable (the disk), kNotFound, kPermissionDenied (its mode), kTooLarge.
// Thread-safety: thread-safe; blocks on the disk.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

#include "core/status.h"

namespace evenkeel::pki {

// Mode 0600, beside the old file, then in its place.
Status WriteSecretFile(const std::string& path, std::string_view content);
Result<std::string> ReadSecretFile(const std::string& path, size_t max_bytes = 64 * 1024);

// A folder of mode 0700; one that is there is left as it is.
Status MakeSecretFolder(const std::string& path);
// What was renamed or removed in it lasts.
Status SyncFolder(const std::string& path);

}  // namespace evenkeel::pki
