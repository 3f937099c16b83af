// The last plan that a node accepted, on its disk: what it goes on with while the store is away, also after a restart.
//
// Contract: one file, replaced as a whole or not at all (core/replace_file.h): a crash or a full disk leaves the earlier plan. Blocks on the disk.
// Thread-safety: thread-compatible.
#pragma once

#include <optional>
#include <string>
#include <utility>

#include "cluster/stored_plan.h"
#include "core/status.h"

namespace evenkeel {

class PlanFile {
 public:
  // `path`: absolute, its folder exists. `cluster`: the id that its plans carry.
  PlanFile(std::string path, std::string cluster)
      : path_(std::move(path)), cluster_(std::move(cluster)) {}

  // Errors: as WriteStoredPlan(); kInvalidArgument for another cluster's plan; kUnavailable with the system's text.
  Status Save(const StoredPlan& plan) const;
  // nullopt: there is no file. Errors, each with the path: kInvalidArgument (truncated, changed, another schema), kConflict (another cluster's),
  // kTooLarge, kUnavailable (cannot be read). A file that is refused is left as it is.
  Result<std::optional<StoredPlan>> Load() const;

 private:
  const std::string path_;
  const std::string cluster_;
};

}  // namespace evenkeel
