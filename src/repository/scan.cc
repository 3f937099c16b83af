#include "repository/scan.h"

#include <algorithm>
#include <filesystem>
#include <map>
#include <utility>

#include "core/format.h"
#include "core/log.h"
#include "core/parse.h"
#include "repository/file_format.h"
#include "repository/folder_model.h"
#include "repository/paths.h"

namespace evenkeel {
namespace {

namespace fs = std::filesystem;

// Enough for any repository; keeps a folder of millions of files from stalling the daemon.
constexpr size_t kMaxEntries = 100'000;

struct Candidate {
  std::string path;  // root + the entry's own name
  bool is_folder = false;
  Status refused;  // not even looked into
};
using Listing = std::map<std::string, std::vector<Candidate>>;

// A name that is safe to show, for a file whose own name is not a model name.
std::string Printable(std::string_view name) {
  std::string out(name.substr(0, 128));
  for (char& c : out) {
    if (c < 0x20 || c == 0x7f) c = '?';
  }
  return out;
}

void AddEntry(const std::string& root, const fs::directory_entry& entry, Listing* listing) {
  std::error_code error;
  const std::string file_name = entry.path().filename().string();
  if (file_name.starts_with('.')) return;
  Candidate candidate{entry.path().string(), entry.is_directory(error), {}};
  std::string name = file_name;
  if (!candidate.is_folder) {
    const std::optional<FileFormat> format = FormatOfFileName(file_name);
    if (!format) {
      LogDebug("models folder: '{}' is no model, passed over", Printable(file_name));
      return;
    }
    name = fs::path(file_name).stem().string();
  }
  const Result<std::string> resolved = ResolveInside(root, candidate.path);
  if (!resolved.ok()) {
    candidate.refused = resolved.status();
  } else if (candidate.is_folder && !LooksLikeModel(*resolved)) {
    LogDebug("models folder: '{}' has no model in it, passed over", Printable(file_name));
    return;
  }
  if (!IsModelName(name)) {
    candidate.refused = InvalidArgument(
        "'{}' cannot be a model's name: a letter or digit, then at most 127 letters, digits, '.', "
        "'_' or '-'",
        Printable(name));
    name = Printable(name);
  }
  (*listing)[name].push_back(std::move(candidate));
}

Result<Listing> List(const std::string& root) {
  Listing listing;
  std::error_code error;
  size_t entries = 0;
  fs::directory_iterator it(root, error);
  for (; !error && it != fs::directory_iterator(); it.increment(error)) {
    if (++entries > kMaxEntries) {
      return TooLarge("folder '{}' has more than {} entries", root, kMaxEntries);
    }
    AddEntry(root, *it, &listing);
  }
  if (error) return InvalidArgument("folder '{}': {}", root, error.message());
  return listing;
}

FoundModel Read(const std::string& root, const std::string& name,
                std::vector<Candidate> candidates) {
  FoundModel model{name, {}, Status::Ok()};
  if (candidates.size() > 1) {
    std::ranges::sort(candidates, {}, &Candidate::path);
    std::string both;
    for (const Candidate& candidate : candidates) {
      both += (both.empty() ? "'" : " and '") + Printable(candidate.path) + "'";
    }
    model.status = InvalidArgument("{} are both a model '{}': rename one", both, name);
    return model;
  }
  const Candidate& candidate = candidates[0];
  if (!candidate.refused.ok()) {
    model.status = candidate.refused;
    return model;
  }
  Result<std::vector<ModelConfig>> versions = std::vector<ModelConfig>();
  if (candidate.is_folder) {
    const Result<std::string> dir = ResolveInside(root, candidate.path);
    versions = dir.ok() ? ReadFolderModel(root, name, *dir) : dir.status();
  } else {
    versions = ReadFileModel(root, name, candidate.path);
  }
  if (!versions.ok()) {
    // Messages go out as JSON, but file names may be any bytes.
    const std::string& message = versions.status().message();
    model.status = {versions.status().code(), IsUtf8(message) ? message : Excerpt(message, 1024)};
  }
  if (versions.ok()) model.versions = std::move(versions).value();
  return model;
}

}  // namespace

Status CheckModelsFolder(const std::string& folder) {
  const Result<std::string> root = CanonicalFolder(folder);
  if (!root.ok()) return root.status();
  return List(*root).status();
}

std::vector<FoundModel> ScanModels(const std::string& folder) {
  std::vector<FoundModel> models;
  const Result<std::string> root = CanonicalFolder(folder);
  if (!root.ok()) {
    LogWarning("models folder: {}", root.status().message());
    return models;
  }
  Result<Listing> listing = List(*root);
  if (!listing.ok()) {
    LogWarning("models folder: {}", listing.status().message());
    return models;
  }
  for (auto& [name, candidates] : *listing) {
    models.push_back(Read(*root, name, std::move(candidates)));
  }
  return models;
}

Result<FoundModel> FindModel(const std::string& folder, const std::string& name) {
  if (!IsModelName(name)) return NotFound("'{}' is not a model's name", Printable(name));
  const Result<std::string> root = CanonicalFolder(folder);
  if (!root.ok()) return root.status();
  Result<Listing> listing = List(*root);
  if (!listing.ok()) return listing.status();
  const auto found = listing->find(name);
  if (found == listing->end()) return NotFound("model '{}' is not in '{}'", name, *root);
  return Read(*root, name, std::move(found->second));
}

}  // namespace evenkeel
