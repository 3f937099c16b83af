// The layout of a Triton model folder: FOLDER/config.pbtxt and FOLDER/N/model.onnx (or another
// format's file).
//
// Thread-safety: thread-safe. Blocks on the file system.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "core/model_config.h"
#include "core/status.h"

namespace evenkeel {

// Numbers of the version folders, ascending. Names with a leading zero do not count, as in Triton.
std::vector<int64_t> VersionFolders(const std::string& dir);

// The versions that the version policy asks for, ascending; at least one. `base` has the name and
// what the caller wants set before config.pbtxt is applied. Errors: kInvalidArgument (located in
// config.pbtxt), kUnsupported, kNotFound (no version, or a version without a model file).
Result<std::vector<ModelConfig>> ReadTritonFolder(const std::string& root, const std::string& dir,
                                                  const ModelConfig& base);

}  // namespace evenkeel
