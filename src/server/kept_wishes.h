// How many replicas people asked for (cluster/live/replica_wishes.h), kept in a file of this server's, so that a restart forgets none.
//
// Contract: a file that can't be read, or written, is named in the log; what is known in memory counts on. Blocks on the disk where something is new, which is when people ask.
// Thread-safety: thread-safe.
#pragma once

#include <mutex>
#include <string>
#include <vector>

#include "cluster/live/replica_wishes.h"

namespace evenkeel {

class KeptWishes {
 public:
  // `path`: empty: nothing is kept on the disk. Reads what lies there.
  explicit KeptWishes(std::string path);

  // People said it, to this node.
  void Ask(const std::string& model, int replicas);
  // Another node told it.
  void Hear(const std::vector<ReplicaWish>& theirs);
  std::vector<ReplicaWish> All() const;

 private:
  void Save();  // REQUIRES: mutex_

  const std::string path_;
  mutable std::mutex mutex_;  // guards what follows, and the file
  ReplicaWishes wishes_;
};

}  // namespace evenkeel
