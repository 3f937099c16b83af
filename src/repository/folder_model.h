// Reads the model that one folder, or one bare file, holds. Internal to the repository: see scan.h.
//
// Contract: `root` is the canonical models folder, `dir` a canonical folder in it.
// Thread-safety: thread-safe. Blocks on the file system.
#pragma once

#include <string>
#include <vector>

#include "core/model_config.h"
#include "core/status.h"

namespace evenkeel {

inline constexpr char kManifestFile[] = "evenkeel.yaml";
inline constexpr char kTritonConfigFile[] = "config.pbtxt";

// True when the folder holds anything that makes it a model, loadable or not.
bool LooksLikeModel(const std::string& dir);

// Version 1 of the model that is the file `path`.
Result<std::vector<ModelConfig>> ReadFileModel(const std::string& root, const std::string& name,
                                               const std::string& path);

// All versions to load, ascending.
Result<std::vector<ModelConfig>> ReadFolderModel(const std::string& root, const std::string& name,
                                                 const std::string& dir);

// Sets path, folder, engine and platform of `config` from the model file (or saved model folder)
// `path`. An engine that is set already must be the one that reads the file; a platform that is set
// already stays.
Status SetModelFile(const std::string& root, const std::string& dir, const std::string& path,
                    ModelConfig* config);

}  // namespace evenkeel
