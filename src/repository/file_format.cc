#include "repository/file_format.h"

#include <algorithm>
#include <array>
#include <filesystem>

namespace evenkeel {
namespace {

namespace fs = std::filesystem;

constexpr std::array<FormatInfo, 9> kInfos = {{
    {"ONNX model", "openvino", "onnxruntime_onnx"},
    {"OpenVINO IR model", "openvino", "openvino"},
    {"TensorFlow Lite model", "openvino", "tflite"},
    {"TensorFlow graph", "openvino", "tensorflow_graphdef"},
    {"TensorFlow saved model", "openvino", "tensorflow_savedmodel"},
    {"Paddle model", "openvino", "paddle"},
    {"Paddle model", "openvino", "paddle"},
    {"GGUF language model", "llamacpp", "llama_cpp", true},
    {"model of the fake engine", "fake", "fake"},
}};

struct Suffix {
  std::string_view text;
  FileFormat format;
};
constexpr std::array<Suffix, 8> kSuffixes = {{
    {".onnx", FileFormat::kOnnx},
    {".xml", FileFormat::kIr},
    {".tflite", FileFormat::kTflite},
    {".pb", FileFormat::kTfGraph},
    {".graphdef", FileFormat::kTfGraph},
    {".pdmodel", FileFormat::kPaddle},
    {".gguf", FileFormat::kGguf},
    {".fake", FileFormat::kFake},
}};

}  // namespace

const FormatInfo& InfoOf(FileFormat format) { return kInfos.at(static_cast<size_t>(format)); }

std::optional<FileFormat> FormatOfFileName(std::string_view file_name) {
  if (file_name == "inference.json") return FileFormat::kPaddleJson;
  for (const Suffix& suffix : kSuffixes) {
    if (file_name.size() > suffix.text.size() && file_name.ends_with(suffix.text)) {
      return suffix.format;
    }
  }
  return std::nullopt;
}

std::optional<FileFormat> FormatOfPath(const std::string& path) {
  std::error_code error;
  if (fs::is_directory(path, error)) {
    if (fs::is_regular_file(fs::path(path) / "saved_model.pb", error))
      return FileFormat::kTfSavedModel;
    return std::nullopt;
  }
  if (!fs::is_regular_file(path, error)) return std::nullopt;
  return FormatOfFileName(fs::path(path).filename().string());
}

std::vector<std::string> ModelFilesIn(const std::string& folder) {
  if (FormatOfPath(folder) == FileFormat::kTfSavedModel) return {folder};
  std::vector<std::string> found;
  std::error_code error;
  for (fs::directory_iterator it(folder, error), end; !error && it != end; it.increment(error)) {
    const std::string name = it->path().filename().string();
    if (!name.starts_with('.') && FormatOfPath(it->path().string()))
      found.push_back(it->path().string());
  }
  std::ranges::sort(found);
  return found;
}

}  // namespace evenkeel
