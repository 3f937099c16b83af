// Which model formats there are, how a file or folder name tells them, and which engine reads them.
//
// Thread-safety: thread-safe.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace evenkeel {

enum class FileFormat : uint8_t {
  kOnnx,
  kIr,  // OpenVINO: x.xml and x.bin
  kTflite,
  kTfGraph,       // frozen TensorFlow graph: .pb, .graphdef
  kTfSavedModel,  // folder with saved_model.pb
  kPaddle,  // x.pdmodel and x.pdiparams; the newer inference.json is read by no engine of ours
  kGguf,    // language model
  kFake,    // scripted engine for tests
};

struct FormatInfo {
  std::string_view what;      // for messages
  std::string_view engine;    // ModelConfig::engine
  std::string_view platform;  // ModelConfig::platform
  bool is_language = false;   // answers texts, not tensors
};

// Never fails: every FileFormat has a row.
const FormatInfo& InfoOf(FileFormat format);

// By suffix alone; nullopt for what is no model file.
std::optional<FileFormat> FormatOfFileName(std::string_view file_name);

// Of an existing file, or of a folder that holds a TensorFlow saved model.
std::optional<FileFormat> FormatOfPath(const std::string& path);

// The models that lie directly in `folder` (the folder itself, when it is a saved model), sorted by
// path.
std::vector<std::string> ModelFilesIn(const std::string& folder);

}  // namespace evenkeel
