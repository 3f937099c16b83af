// The models of this node's models folder as files: listed, read piece by piece, removed. The end of a copy that gives.
//
// Contract: only what a model name leads to is opened, and only inside the models folder: a link that leads out of its model refuses the whole model, hidden files are
//   passed over. A model of two files that stand alone (x.xml, x.bin) is listed as a folder of both. Digests are kept as long as a file's size, times and inode stay:
//   the second listing reads nothing. A piece comes from the very content that was listed, or not at all.
// Errors: kNotFound (no such model, no such file of it), kInvalidArgument, kTooLarge, kConflict (the files changed), kCancelled, kUnavailable (the disk).
// Thread-safety: thread-safe. Blocks on the disk: never on an event loop.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "cluster/models/model_listing.h"
#include "core/status.h"

namespace evenkeel {

inline constexpr uint64_t kMostPieceBytes = uint64_t{1} << 20;

// A part of one file of a listed model.
struct FilePiece {
  std::string model, digest;  // the content id
  std::string path;
  uint64_t offset = 0;
  uint64_t length = 0;  // 1 to kMostPieceBytes
};

class ModelFiles {
 public:
  explicit ModelFiles(std::string models_folder) : folder_(std::move(models_folder)) {}

  // `stopped` is asked while files are digested; empty: never.
  Result<ModelListing> List(const std::string& model, const std::function<bool()>& stopped = {});
  // Fewer bytes than asked for only where the file ends.
  Result<std::string> Read(const FilePiece& piece);
  // Its files, from the models folder. A crash in the middle leaves a hidden folder that no server looks into.
  Status Remove(const std::string& model);
  const std::string& folder() const { return folder_; }

 private:
  // What tells one state of a file from the next.
  struct Stamp {
    dev_t device = 0;
    ino_t inode = 0;
    uint64_t bytes = 0;
    int64_t modified_ns = 0, changed_ns = 0;
    bool operator==(const Stamp&) const = default;
  };
  struct Digested {
    Stamp stamp;
    std::string sha256;
  };
  struct Held {
    ModelListing listing;
    std::map<std::string, std::pair<std::string, Stamp>, std::less<>>
        at;  // by listed path: where it lies
  };
  struct Entry;  // what lies in the models folder under a model's name
  static Result<Stamp> StampOf(int fd, const std::string& path);
  Result<Entry> Find(const std::string& model) const;
  Result<Digested> Digest(const std::string& path, const std::function<bool()>& stopped);
  Result<std::shared_ptr<const Held>> Hold(const std::string& model,
                                           const std::function<bool()>& stopped);

  const std::string folder_;
  std::mutex mutex_;  // guards what follows; not held while files are read
  std::map<std::string, Digested, std::less<>> digested_;                 // by path
  std::map<std::string, std::shared_ptr<const Held>, std::less<>> held_;  // by model
};

}  // namespace evenkeel
