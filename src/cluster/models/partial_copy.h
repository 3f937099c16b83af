// A model that is being copied, on the disk: pieces are added to its files, whole files are verified, and the whole is moved to its place. Internal to model_copy.cc, but for RemoveOldPartials().
//
// Contract: as CopyModel(), for the disk's part. A file that is longer than listed is begun anew.
// Errors: kUnavailable (the disk), kConflict (the name is taken), kCancelled.
// Thread-safety: single-owner; blocks on the disk.
#pragma once

#include <chrono>
#include <functional>
#include <set>
#include <string>
#include <string_view>

#include "cluster/models/model_listing.h"
#include "core/status.h"

namespace evenkeel {

class PartialCopy {
 public:
  // The folder of that model and content below `partial`. Nothing is touched yet.
  PartialCopy(std::string partial, std::string model, std::string digest);

  // Makes the folder, removes what other copies of the model left, and whatever is in it and not listed; checks the room on the disk.
  Status Begin(const ModelListing& listing, uint64_t spare_bytes);
  uint64_t BytesOf(const ListedFile& file) const;  // that are there
  // Behind what is there. A full disk removes the folder.
  Status Append(const ListedFile& file, std::string_view bytes);
  // Whether the bytes are those that are listed; they are on the disk then. Remembers files that were right.
  Result<bool> Verify(const ListedFile& file, const std::function<bool()>& stopped);
  Status Discard(const ListedFile& file);
  // Into the models folder.
  Status MoveTo(const std::string& models, const ModelListing& listing);

 private:
  std::string PathOf(const ListedFile& file) const;
  Status CheckRoom(const ModelListing& listing, uint64_t spare_bytes) const;
  void RemoveUnlisted(const ModelListing& listing) const;
  Status Failed(const std::string& path, int error);

  const std::string root_, model_, digest_, folder_;
  std::set<std::string> right_;  // paths of files that were verified
};

// Removes what copies left that nobody has gone on with for so long.
void RemoveOldPartials(const std::string& partial, std::chrono::hours age);

}  // namespace evenkeel
