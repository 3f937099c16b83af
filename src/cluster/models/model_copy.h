// Fetches a model from nodes that have it, whole or not at all. The end of a copy that takes.
//
// How it goes: each file is fetched piece by piece into a partial folder that survives restarts, goes on where its file ends, and is held against its SHA-256; only when
//   all are right is the model moved into the models folder, by one rename. Bytes that differ are fetched again kRefetches times, then another source is tried. A source that is
//   silent is passed over; when none has given a byte for `patience`, the copy ends, and its partial folder stays for the next.
// Contract: the models folder never holds part of a model. A full disk ends the copy and its partial folder. A model of that name and content that is there already is the
//   answer; one of another content is refused.
// Errors: kConflict (another content has the name: both digests are named), kUnavailable (nobody gives it; the disk), kInvalidArgument (what a source tells is impossible),
//   kCancelled.
// Thread-safety: single-owner; blocks. Source: issue S4, "copied node to node (sha256, resumable, rate-limited, verified before use)".
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>

#include "cluster/models/model_files.h"
#include "core/clock.h"
#include "core/status.h"

namespace evenkeel {

// One node that has the model. Calls block, and end when the copy is stopped.
class ModelSource {
 public:
  virtual ~ModelSource() = default;
  virtual const std::string& node() const = 0;
  virtual Result<ModelListing> List(const std::string& model) = 0;
  virtual Result<std::string> Read(const FilePiece& piece) = 0;
};

struct CopyProgress {
  uint64_t total = 0;    // bytes of the model; 0: not known yet
  uint64_t done = 0;     // of those, here
  uint64_t resumed = 0;  // of those, here before this copy began
  uint64_t fetched = 0;  // that came over the link, bytes that were fetched again included
  std::string from;      // the node
};

struct CopyOptions {
  int64_t bytes_per_s = int64_t{64} << 20;
  uint64_t spare_bytes = uint64_t{64} << 20;  // left free on the disk
  Duration patience = std::chrono::seconds(60);
  Duration again = std::chrono::seconds(1);  // after all sources failed
  std::function<void(Duration)> sleep;       // returns early when the copy is stopped
  std::function<bool()> stopped;
  std::function<void(const CopyProgress&)> report;
};

inline constexpr int kRefetches = 2;

// Where copies that are under way are kept: in the state folder, or hidden in the models folder where that is another file system, so that one rename moves them.
std::string PartialFolder(const std::string& models, const std::string& state);

struct CopyJob {
  std::string model, digest;  // the content id
  std::string partial;        // PartialFolder()
};

// `own`: this node's models, to which it is added. All callbacks of `options` are set.
Result<ModelListing> CopyModel(const CopyJob& job, ModelFiles& own,
                               std::span<ModelSource* const> sources, const Clock& clock,
                               const CopyOptions& options);

// Another content has the name.
Status OtherContent(const std::string& model, const std::string& here, const std::string& wanted);

}  // namespace evenkeel
