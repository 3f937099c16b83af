// Whose a file is that root makes: the owner's of the folder that it is in. `sudo evenkeel ...` must leave nothing that the server, which runs as somebody
// else, cannot read.
//
// Contract: does nothing where another user than root runs or the folder is root's, nor to a file that has a second name: somebody may have planted that
//   for a file of root's.
// Errors: kUnavailable, with the folder and the system's text. Thread-safety: thread-safe.
#pragma once

#include <string>

#include "core/status.h"

namespace evenkeel {

// `fd`: a file or folder in `folder`, open; empty: where the process is. REQUIRES: no link was followed when it was opened.
Status GiveToOwnerOf(const std::string& folder, int fd);

// The folder, and those above it that are missing: each belongs to the owner of the one that it is in. Error kUnavailable also where one cannot be made.
Status MakeFolders(const std::string& folder);

}  // namespace evenkeel
