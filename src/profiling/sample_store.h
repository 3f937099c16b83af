// The folder that samples are kept in: one file a model and signature, replaced as a whole or not
// at all.
//
// Contract: folder/MODEL/HASH.safetensors. A crash at any moment leaves the old or the new file. A
//   file that does not decode, or lies where it does not belong, is renamed to *.bad with a warning
//   and never read again. Blocks on the disk: not for the request path.
// Thread-safety: thread-compatible.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "core/status.h"
#include "profiling/sampler.h"

namespace evenkeel {

class SampleStore {
 public:
  // `folder`: absolute; made when first needed.
  explicit SampleStore(std::string folder) : folder_(std::move(folder)) {}

  // Every readable set. Unfinished temporary files are removed.
  std::vector<SampleSet> Load();
  // Error kUnavailable with the system's text (full disk, no permission); the earlier file is then
  // still there.
  Status Write(const SampleSet& set);
  // Removes the files of `model` (and what was set aside); with a signature only that file. Fine
  // when there is none. Error kInternal.
  Status Remove(const std::string& model);
  Status Remove(const std::string& model, const std::string& signature);
  // Removes the files of `model` last written before `oldest_s` (Unix seconds).
  void RemoveOlder(const std::string& model, int64_t oldest_s);

  std::string PathOf(const std::string& model, std::string_view signature) const;

 private:
  std::string folder_;
};

}  // namespace evenkeel
