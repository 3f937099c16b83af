// A model from this machine's disk into the models folder, whole or not at all: staged in a hidden folder, checked by the server's own reading, renamed in.
//
// Contract: what goes wrong is said on stderr, and CLI::RuntimeError thrown with the exit code of commands.h; Ctrl-C leaves nothing behind. A copy that takes long shows how far it is.
// Thread-safety: main thread only.
#pragma once

#include <cstdint>
#include <string>

namespace evenkeel {

struct PullOptions {
  std::string path;    // of a file or folder
  std::string name;    // empty: the file's
  std::string models;  // folder; empty: as the settings say
};

struct PulledModel {
  std::string name;
  std::string digest;  // content id, as in cluster/models/model_listing.h
  uint64_t bytes = 0;
  std::string path;  // where it lies now
};

PulledModel PullModel(const PullOptions& options);

}  // namespace evenkeel
