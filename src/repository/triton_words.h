// Triton's words for data types and backends, and ours.
//
// Thread-safety: thread-safe.
#pragma once

#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "core/status.h"
#include "core/tensor.h"
#include "repository/file_format.h"

namespace evenkeel {

// "TYPE_FP32", "TYPE_STRING"; "TYPE_INVALID" for kInvalid.
std::string_view TritonNameOf(DataType type);
// `number` is inference::DataType's; kInvalid for TYPE_INVALID and unknown numbers.
DataType DataTypeFromTriton(int number);

// A file that a version folder may hold, and its format.
struct ModelFileName {
  std::string_view name;  // "model.onnx"
  FileFormat format;
};

// The default file names of a backend or platform ("" for both: of all), in the order in which they
// are looked for. Error kUnsupported, naming the backend, for those that we have no engine for.
Result<std::span<const ModelFileName>> ModelFileNames(std::string_view platform,
                                                      std::string_view backend);

// The backend that a platform belongs to ("onnxruntime_onnx" -> "onnxruntime"); the platform itself
// when unknown.
std::string_view BackendOf(std::string_view platform);

}  // namespace evenkeel
