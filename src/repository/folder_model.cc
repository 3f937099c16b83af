#include "repository/folder_model.h"

#include <filesystem>
#include <utility>

#include "core/format.h"
#include "repository/file_format.h"
#include "repository/manifest_fit.h"
#include "repository/manifest_yaml.h"
#include "repository/paths.h"
#include "repository/triton_folder.h"
#include "repository/yaml_tree.h"

namespace evenkeel {
namespace {

namespace fs = std::filesystem;

bool Exists(const std::string& dir, const char* file) {
  std::error_code error;
  return fs::exists(fs::symlink_status(fs::path(dir) / file, error));
}

// Lays evenkeel.yaml, if there is one, over `base`. `where` is the folder that a 'file' key counts
// from.
Result<Manifest> ReadManifest(const std::string& root, const std::string& dir,
                              const ModelConfig& base) {
  if (!Exists(dir, kManifestFile)) return Manifest{base, "", std::nullopt, false, 0, {}};
  const Result<std::string> path = ResolveInside(root, (fs::path(dir) / kManifestFile).string());
  if (!path.ok()) return path.status();
  const Result<std::string> text = ReadSmallFile(*path, kMaxYamlBytes);
  if (!text.ok()) return text.status();
  return ParseManifest(*text, *path, base);
}

std::string FileNames(const std::vector<std::string>& paths) {
  std::string names;
  for (const std::string& path : paths) {
    names += (names.empty() ? "'" : ", '") + fs::path(path).filename().string() + "'";
  }
  return names;
}

Result<std::string> ModelFileOf(const std::string& root, const std::string& dir,
                                const Manifest& manifest) {
  if (!manifest.file.empty()) {
    const Result<std::string> resolved = ResolveRelative(root, dir, manifest.file);
    if (!resolved.ok()) {
      return resolved.status().Annotate(
          fmt::format("{}:{}: file", manifest.config.source, manifest.file_line));
    }
    return (fs::path(dir) / manifest.file).lexically_normal().string();
  }
  const std::vector<std::string> files = ModelFilesIn(dir);
  if (files.size() == 1) return files[0];
  if (files.empty()) {
    return NotFound(
        "folder '{}' has no model file (.onnx, .xml, .tflite, .pb, .pdmodel, .gguf, saved model)",
        dir);
  }
  return InvalidArgument("folder '{}' has {} model files ({}): say which with 'file:' in {}", dir,
                         files.size(), FileNames(files), kManifestFile);
}

bool IsLanguageModel(const ModelConfig& config) {
  const std::optional<FileFormat> format = FormatOfPath(config.path);
  return format && InfoOf(*format).is_language;
}

Result<std::vector<ModelConfig>> ReadTritonModel(const std::string& root, const std::string& dir,
                                                 const ModelConfig& base) {
  Result<std::vector<ModelConfig>> versions = ReadTritonFolder(root, dir, base);
  if (!versions.ok()) return versions;
  for (ModelConfig& config : *versions) {
    const std::string engine = config.engine;
    const bool is_language = IsLanguageModel(config);
    EK_RETURN_IF_ERROR(CheckTritonFits(config, is_language));
    Result<Manifest> manifest = ReadManifest(root, dir, config);
    if (!manifest.ok()) return manifest.status();
    if (!manifest->file.empty() || manifest->version) {
      return InvalidArgument(
          "{}: 'file' and 'version' cannot be given for a folder with version folders",
          manifest->config.source);
    }
    EK_RETURN_IF_ERROR(CheckKeysFit(*manifest, is_language));
    config = std::move(manifest->config);
    if (config.engine != engine) {
      return InvalidArgument("{}: engine: expected '{}', which reads '{}', got '{}'", config.source,
                             engine, config.path, config.engine);
    }
  }
  return versions;
}

}  // namespace

bool LooksLikeModel(const std::string& dir) {
  return Exists(dir, kManifestFile) || Exists(dir, kTritonConfigFile) ||
         !VersionFolders(dir).empty() || !ModelFilesIn(dir).empty();
}

Status SetModelFile(const std::string& root, const std::string& dir, const std::string& path,
                    ModelConfig* config) {
  const Result<std::string> canonical = ResolveInside(root, path);
  if (!canonical.ok()) return canonical.status();
  const std::optional<FileFormat> format = FormatOfPath(path);
  if (!format) {
    return InvalidArgument(
        "'{}' is no model file (.onnx, .xml, .tflite, .pb, .pdmodel, .gguf, or a folder with "
        "saved_model.pb)",
        path);
  }
  const FormatInfo& info = InfoOf(*format);
  if (!config->engine.empty() && config->engine != info.engine) {
    return InvalidArgument("'{}' is a {}, which engine '{}' does not read; '{}' does", path,
                           info.what, config->engine, info.engine);
  }
  config->engine = info.engine;
  if (config->platform.empty()) config->platform = info.platform;
  config->path = path;
  // A link may lead to a file that models share, elsewhere in the models folder.
  config->folder = IsInside(dir, *canonical) ? dir : root;
  return Status::Ok();
}

Result<std::vector<ModelConfig>> ReadFileModel(const std::string& root, const std::string& name,
                                               const std::string& path) {
  ModelConfig config;
  config.name = name;
  EK_RETURN_IF_ERROR(SetModelFile(root, root, path, &config));
  return std::vector<ModelConfig>{std::move(config)};
}

Result<std::vector<ModelConfig>> ReadFolderModel(const std::string& root, const std::string& name,
                                                 const std::string& dir) {
  ModelConfig base;
  base.name = name;
  base.folder = dir;
  if (Exists(dir, kTritonConfigFile) || !VersionFolders(dir).empty()) {
    return ReadTritonModel(root, dir, base);
  }
  Result<Manifest> manifest = ReadManifest(root, dir, base);
  if (!manifest.ok()) return manifest.status();
  const Result<std::string> path = ModelFileOf(root, dir, *manifest);
  if (!path.ok()) return path.status();
  const std::string source = manifest->config.source;
  const Status status = SetModelFile(root, dir, *path, &manifest->config);
  if (!status.ok()) return source.empty() ? status : status.Annotate(source);
  EK_RETURN_IF_ERROR(CheckKeysFit(*manifest, IsLanguageModel(manifest->config)));
  return std::vector<ModelConfig>{std::move(manifest->config)};
}

}  // namespace evenkeel
