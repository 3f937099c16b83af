// The files of a model with their sizes and digests: what a copy of it is held against, and what two nodes' models are compared by.
//
// Contract: the digest is the model's content id, equal to what `evenkeel pull` prints: of one file that stands alone the SHA-256 of its bytes, of a folder that
//   of the lines "SHA256  PATH\n" of its files, by path. A listing from another node counts for nothing before CheckListing().
// Errors: kInvalidArgument with the path and what is wrong with it; kTooLarge.
// Thread-safety: values; pure.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "core/status.h"

namespace evenkeel {

inline constexpr size_t kMostModelFiles = 10'000;
inline constexpr size_t kMostPathBytes = 512;
inline constexpr uint64_t kMostModelBytes = uint64_t{1} << 50;

struct ListedFile {
  std::string path;  // relative to the model, with '/'
  uint64_t bytes = 0;
  std::string sha256;  // 64 small hexadecimal digits
  bool operator==(const ListedFile&) const = default;
};

struct ModelListing {
  std::string name;
  bool folder = true;             // false: one file that stands alone in the models folder
  std::vector<ListedFile> files;  // by path
  // That are of the model all the same: the version folder of an ensemble. No part of the content id.
  std::vector<std::string> empty_folders;
  uint64_t bytes = 0;  // of all files
  std::string digest;  // content id, 64 digits
  bool operator==(const ModelListing&) const = default;
};

// A path that stays inside, whatever the folder: no "..", no hidden parts, no control characters, UTF-8.
Status CheckListedPath(std::string_view path);
// 64 small hexadecimal digits.
bool IsSha256(std::string_view text);
// From files and `folder`.
std::string ContentDigest(const ModelListing& listing);
// That another node's listing of model `name` says nothing impossible, and that its digest is that of its files.
Status CheckListing(const ModelListing& listing, std::string_view name);

}  // namespace evenkeel
