#include "repository/triton_folder.h"

#include <algorithm>
#include <filesystem>
#include <limits>
#include <utility>

#include "core/format.h"
#include "core/log.h"
#include "core/parse.h"
#include "repository/config_pbtxt.h"
#include "repository/ensemble.h"
#include "repository/folder_model.h"
#include "repository/paths.h"
#include "repository/triton_message.h"
#include "repository/triton_words.h"

namespace evenkeel {
namespace {

namespace fs = std::filesystem;

constexpr size_t kMaxVersions = 1'024;

Result<TritonConfig> ReadConfig(const std::string& root, const std::string& dir,
                                const ModelConfig& base) {
  const fs::path file = fs::path(dir) / kTritonConfigFile;
  std::error_code error;
  if (!fs::exists(fs::symlink_status(file, error))) {
    TritonConfig config;
    config.config = base;
    return config;
  }
  const Result<std::string> path = ResolveInside(root, file.string());
  if (!path.ok()) return path.status();
  const Result<std::string> text = ReadSmallFile(*path, kMaxPbtxtBytes);
  if (!text.ok()) return text.status();
  return ParseConfigPbtxt(*text, *path, base);
}

Result<std::vector<int64_t>> Select(const VersionPolicy& policy, std::vector<int64_t> there,
                                    const std::string& dir) {
  if (there.empty()) return NotFound("folder '{}' has no version folders (1, 2, ...)", dir);
  if (policy.kind == VersionPolicy::Kind::kLatest && policy.latest < there.size()) {
    there.erase(there.begin(), there.end() - policy.latest);
  } else if (policy.kind == VersionPolicy::Kind::kSpecific) {
    for (int64_t version : policy.specific) {
      if (!std::ranges::binary_search(there, version)) {
        LogWarning("folder '{}': version_policy names version {}, which is not there", dir,
                   version);
      }
    }
    std::erase_if(there, [&](int64_t version) {
      return std::ranges::find(policy.specific, version) == policy.specific.end();
    });
    if (there.empty())
      return NotFound("folder '{}' has none of the versions that version_policy names", dir);
  }
  if (there.size() > kMaxVersions) {
    return TooLarge("folder '{}': {} versions; at most {} are served", dir, there.size(),
                    kMaxVersions);
  }
  return there;
}

// A folder `model.onnx` holds a model with its external data; the model inside has the same name.
Result<std::string> Descend(const fs::path& path) {
  std::error_code error;
  if (path.extension() == ".onnx" && fs::is_directory(path, error))
    return (path / path.filename()).string();
  return path.string();
}

Result<std::string> FindModelFile(const TritonConfig& config, const std::string& version_dir) {
  if (!config.default_model_filename.empty()) {
    return Descend(fs::path(version_dir) / config.default_model_filename);
  }
  const auto names = ModelFileNames(config.platform, config.backend);
  if (!names.ok()) return names.status();
  std::string tried;
  for (const ModelFileName& name : *names) {
    const fs::path path = fs::path(version_dir) / name.name;
    std::error_code error;
    if (fs::exists(fs::symlink_status(path, error))) return Descend(path);
    tried += (tried.empty() ? "" : ", ") + std::string(name.name);
  }
  return NotFound("folder '{}' has no model file: expected {}{}", version_dir,
                  names->size() > 1 ? "one of " : "", tried);
}

}  // namespace

std::vector<int64_t> VersionFolders(const std::string& dir) {
  std::vector<int64_t> versions;
  std::error_code error;
  for (fs::directory_iterator it(dir, error), end; !error && it != end; it.increment(error)) {
    const std::string name = it->path().filename().string();
    if (name[0] < '1' || name[0] > '9') continue;
    const Result<int64_t> version = ParseInt(name, 1, std::numeric_limits<int64_t>::max());
    std::error_code ignored;
    if (version.ok() && it->is_directory(ignored)) versions.push_back(*version);
  }
  std::ranges::sort(versions);
  return versions;
}

Result<std::vector<ModelConfig>> ReadTritonFolder(const std::string& root, const std::string& dir,
                                                  const ModelConfig& base) {
  const Result<TritonConfig> triton = ReadConfig(root, dir, base);
  if (!triton.ok()) return triton.status();
  const Result<std::vector<int64_t>> versions = Select(triton->versions, VersionFolders(dir), dir);
  if (!versions.ok()) return versions.status();
  std::vector<ModelConfig> configs;
  for (int64_t version : *versions) {
    if (!triton->config.ensemble.empty()) {
      // Its version folders hold nothing.
      configs.push_back(triton->config);
      configs.back().version = version;
      configs.back().platform = triton->platform;
      configs.back().engine = kEnsembleEngine;
      configs.back().folder = dir;
      continue;
    }
    const Result<std::string> path =
        FindModelFile(*triton, (fs::path(dir) / std::to_string(version)).string());
    if (!path.ok()) return path.status();
    ModelConfig config = triton->config;
    config.version = version;
    config.platform = triton->platform;
    if (config.platform.empty() && triton->backend == "openvino") config.platform = "openvino";
    EK_RETURN_IF_ERROR(SetModelFile(root, dir, *path, &config));
    configs.push_back(std::move(config));
  }
  return configs;
}

}  // namespace evenkeel
