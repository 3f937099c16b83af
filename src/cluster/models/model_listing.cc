#include "cluster/models/model_listing.h"

#include <algorithm>

#include "cluster/models/sha256.h"
#include "core/format.h"
#include "core/parse.h"
#include "repository/paths.h"

namespace evenkeel {
namespace {

Status CheckPart(std::string_view part, std::string_view path) {
  if (part.empty()) return InvalidArgument("path {} has an empty part", Excerpt(path));
  // ".." and "." are among them; what is hidden is never part of a model.
  if (part[0] == '.')
    return InvalidArgument("path {} has a part that begins with '.'", Excerpt(path));
  if (part.size() > 255)
    return InvalidArgument("path {} has a part of {} bytes", Excerpt(path), part.size());
  return Status::Ok();
}

// REQUIRES: files by path. A file can't be a folder of another, too.
Status CheckNesting(const ModelListing& listing) {
  std::vector<std::string_view> paths;
  for (const ListedFile& file : listing.files) paths.push_back(file.path);
  std::vector<std::string_view> all = paths;
  for (const std::string& folder : listing.empty_folders) {
    if (std::ranges::binary_search(paths, std::string_view(folder)))
      return InvalidArgument("{} is listed as a file and as a folder", Excerpt(folder));
    all.push_back(folder);
  }
  for (const std::string_view path : all) {
    for (size_t at = path.find('/'); at != std::string_view::npos; at = path.find('/', at + 1)) {
      if (std::ranges::binary_search(paths, path.substr(0, at)))
        return InvalidArgument("{} is listed as a file and as a folder",
                               Excerpt(path.substr(0, at)));
    }
  }
  return Status::Ok();
}

}  // namespace

Status CheckListedPath(std::string_view path) {
  if (path.empty()) return InvalidArgument("a listed path is empty");
  if (path.size() > kMostPathBytes)
    return InvalidArgument("path {} is longer than {} bytes", Excerpt(path), kMostPathBytes);
  if (path[0] == '/') return InvalidArgument("path {} is absolute", Excerpt(path));
  if (!IsUtf8(path)) return InvalidArgument("path {} is not UTF-8", Excerpt(path));
  for (const char c : path) {
    const auto byte = static_cast<unsigned char>(c);
    if (byte < 0x20 || byte == 0x7f || c == '\\')
      return InvalidArgument("path {} has a control character or a backslash", Excerpt(path));
  }
  for (size_t begin = 0; begin <= path.size();) {
    const size_t end = std::min(path.find('/', begin), path.size());
    EK_RETURN_IF_ERROR(CheckPart(path.substr(begin, end - begin), path));
    begin = end + 1;
  }
  return Status::Ok();
}

bool IsSha256(std::string_view text) {
  return text.size() == kSha256Digits && std::ranges::all_of(text, [](char c) {
           return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f');
         });
}

std::string ContentDigest(const ModelListing& listing) {
  if (!listing.folder && listing.files.size() == 1) return listing.files[0].sha256;
  Sha256 all;
  for (const ListedFile& file : listing.files)
    all.Add(fmt::format("{}  {}\n", file.sha256, file.path));
  return all.Hex();
}

Status CheckListing(const ModelListing& listing, std::string_view name) {
  if (!IsModelName(name)) return InvalidArgument("{} is not a model's name", Excerpt(name));
  if (listing.name != name)
    return InvalidArgument("expected the listing of model '{}', got that of {}", name,
                           Excerpt(listing.name));
  if (listing.files.empty()) return InvalidArgument("model '{}' is listed without files", name);
  if (listing.files.size() + listing.empty_folders.size() > kMostModelFiles)
    return TooLarge("model '{}' has {} files, expected at most {}", name,
                    listing.files.size() + listing.empty_folders.size(), kMostModelFiles);
  if (!listing.folder && listing.files.size() != 1)
    return InvalidArgument("model '{}' is listed as one file and has {}", name,
                           listing.files.size());
  uint64_t bytes = 0;
  for (size_t i = 0; i < listing.files.size(); ++i) {
    const ListedFile& file = listing.files[i];
    EK_RETURN_IF_ERROR(CheckListedPath(file.path));
    if (i > 0 && listing.files[i - 1].path >= file.path)
      return InvalidArgument("model '{}': {} is listed twice or not in order", name,
                             Excerpt(file.path));
    if (!IsSha256(file.sha256))
      return InvalidArgument("model '{}': {} has no SHA-256 but {}", name, Excerpt(file.path),
                             Excerpt(file.sha256));
    if (file.bytes > kMostModelBytes - bytes)
      return TooLarge("model '{}' is listed with more than {} bytes", name, kMostModelBytes);
    bytes += file.bytes;
  }
  if (!listing.folder && listing.files[0].path.find('/') != std::string::npos)
    return InvalidArgument("model '{}': one file, and in a folder: {}", name,
                           Excerpt(listing.files[0].path));
  for (const std::string& folder : listing.empty_folders)
    EK_RETURN_IF_ERROR(CheckListedPath(folder));
  EK_RETURN_IF_ERROR(CheckNesting(listing));
  if (bytes != listing.bytes)
    return InvalidArgument("model '{}' is listed with {} bytes, its files have {}", name,
                           listing.bytes, bytes);
  if (const std::string digest = ContentDigest(listing); digest != listing.digest)
    return InvalidArgument("model '{}' is listed as sha256:{}, its files are sha256:{}", name,
                           Excerpt(listing.digest, 80), digest);
  return Status::Ok();
}

}  // namespace evenkeel
