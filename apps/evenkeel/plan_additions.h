// Work that `evenkeel plan --add FILE` plans beside what a cluster has: what would fit, before it is there.
//
// Thread-safety: thread-safe. Blocks on the file system.
#pragma once

#include <nlohmann/json_fwd.hpp>
#include <string>

#include "core/status.h"

namespace evenkeel {

// The tasks of a file, as they stand in a cluster's file (cluster/cluster_file.h): of {"tasks": [...]}, or of a GGUF file the one that its model is, a token of one answer being
//   its work, and its memory that of weights and of a cache for kPlannedContext tokens, or fewer where it was made for fewer.
// Errors: of the file, or as CheckGgufFile.
inline constexpr int kPlannedContext = 4096;
Result<nlohmann::json> AddedTasks(const std::string& path);

}  // namespace evenkeel
