#include "repository/triton_words.h"

#include <algorithm>
#include <array>

#include "core/format.h"
#include "core/parse.h"

namespace evenkeel {
namespace {

struct TypeWord {
  DataType type;
  std::string_view name;
};
// Indexed by the number in inference::DataType.
constexpr std::array<TypeWord, 15> kTypes = {{{DataType::kInvalid, "TYPE_INVALID"},
                                              {DataType::kBool, "TYPE_BOOL"},
                                              {DataType::kUint8, "TYPE_UINT8"},
                                              {DataType::kUint16, "TYPE_UINT16"},
                                              {DataType::kUint32, "TYPE_UINT32"},
                                              {DataType::kUint64, "TYPE_UINT64"},
                                              {DataType::kInt8, "TYPE_INT8"},
                                              {DataType::kInt16, "TYPE_INT16"},
                                              {DataType::kInt32, "TYPE_INT32"},
                                              {DataType::kInt64, "TYPE_INT64"},
                                              {DataType::kFp16, "TYPE_FP16"},
                                              {DataType::kFp32, "TYPE_FP32"},
                                              {DataType::kFp64, "TYPE_FP64"},
                                              {DataType::kBytes, "TYPE_STRING"},
                                              {DataType::kBf16, "TYPE_BF16"}}};

// One row a format; TensorFlow's two lie together, so that its backend may hold either.
constexpr std::array<ModelFileName, 9> kFiles = {{{"model.onnx", FileFormat::kOnnx},
                                                  {"model.xml", FileFormat::kIr},
                                                  {"model.savedmodel", FileFormat::kTfSavedModel},
                                                  {"model.graphdef", FileFormat::kTfGraph},
                                                  {"model.pb", FileFormat::kTfGraph},
                                                  {"model.pdmodel", FileFormat::kPaddle},
                                                  {"model.tflite", FileFormat::kTflite},
                                                  {"model.fake", FileFormat::kFake},
                                                  {"model.gguf", FileFormat::kGguf}}};

struct Backend {
  std::string_view platform;
  std::string_view backend;
  size_t first;  // in kFiles
  size_t count;
};
constexpr std::array<Backend, 8> kBackends = {{{"onnxruntime_onnx", "onnxruntime", 0, 1},
                                               {"openvino", "openvino", 0, 7},
                                               {"tensorflow_savedmodel", "tensorflow", 2, 1},
                                               {"tensorflow_graphdef", "tensorflow", 3, 2},
                                               {"paddle", "paddle", 5, 1},
                                               {"tflite", "tflite", 6, 1},
                                               {"fake", "fake", 7, 1},
                                               {"llama_cpp", "llama_cpp", 8, 1}}};

constexpr std::string_view kSupported =
    "onnxruntime, openvino, tensorflow, paddle, tflite (all run by OpenVINO), llama_cpp, fake";

}  // namespace

std::string_view TritonNameOf(DataType type) {
  const auto found = std::ranges::find(kTypes, type, &TypeWord::type);
  return found == kTypes.end() ? kTypes[0].name : found->name;
}

DataType DataTypeFromTriton(int number) {
  if (number < 0 || static_cast<size_t>(number) >= kTypes.size()) return DataType::kInvalid;
  return kTypes[static_cast<size_t>(number)].type;
}

Result<std::span<const ModelFileName>> ModelFileNames(std::string_view platform,
                                                      std::string_view backend) {
  const std::span<const ModelFileName> files(kFiles);
  if (platform.empty() && backend.empty()) return files;
  if (!platform.empty()) {
    const auto row = std::ranges::find(kBackends, platform, &Backend::platform);
    if (row == kBackends.end()) {
      return Unsupported("platform {} is not supported; supported are the backends {}",
                         Excerpt(platform), kSupported);
    }
    if (!backend.empty() && backend != row->backend) {
      return InvalidArgument("platform '{}' belongs to backend '{}', got backend {}", platform,
                             row->backend, Excerpt(backend));
    }
    return files.subspan(row->first, row->count);
  }
  if (backend == "tensorflow") return files.subspan(2, 3);
  const auto row = std::ranges::find(kBackends, backend, &Backend::backend);
  if (row == kBackends.end()) {
    return Unsupported("backend {} is not supported; supported are {}", Excerpt(backend),
                       kSupported);
  }
  return files.subspan(row->first, row->count);
}

std::string_view BackendOf(std::string_view platform) {
  const auto row = std::ranges::find(kBackends, platform, &Backend::platform);
  return row == kBackends.end() ? platform : row->backend;
}

}  // namespace evenkeel
