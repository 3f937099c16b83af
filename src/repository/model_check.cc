#include "repository/model_check.h"

#include <algorithm>
#include <array>
#include <filesystem>
#include <string>
#include <string_view>

#include "core/format.h"
#include "core/parse.h"
#include "repository/byte_source.h"
#include "repository/file_format.h"
#include "repository/gguf_check.h"
#include "repository/ir_check.h"
#include "repository/onnx_check.h"
#include "repository/paths.h"
#include "repository/wire.h"

namespace evenkeel {
namespace {

namespace fs = std::filesystem;

constexpr uint64_t kMaxFakeBytes = uint64_t{1} << 20;
constexpr size_t kMaxSavedModelEntries = 10'000;

// The file that belongs to config.path: same stem, another suffix.
Status CheckSibling(const ModelConfig& config, const char* suffix, bool may_be_empty) {
  const std::string path = fs::path(config.path).replace_extension(suffix).string();
  const Result<std::string> resolved = ResolveInside(config.folder, path);
  if (!resolved.ok()) return resolved.status();
  std::error_code error;
  if (!fs::is_regular_file(*resolved, error))
    return InvalidArgument("'{}' is not a regular file", path);
  if (!may_be_empty && fs::file_size(*resolved, error) == 0)
    return InvalidArgument("'{}' is empty", path);
  return Status::Ok();
}

// A protobuf message that has field `required`, and only fields up to `highest`.
Status CheckMessage(const std::string& path, uint32_t required, uint32_t highest,
                    std::string_view what) {
  Result<ByteSource> source = ByteSource::OpenFile(path);
  if (!source.ok()) return source.status();
  FileWireReader reader(*source, {0, source->size()});
  FileWireField field;
  bool found = false;
  while (reader.Next(&field)) {
    if (field.number > highest)
      return InvalidArgument("no {}: it has a field {}", what, field.number);
    found |= field.number == required && field.type == FileWireField::Type::kBytes &&
             field.bytes.size() > 0;
  }
  EK_RETURN_IF_ERROR(reader.status());
  return found ? Status::Ok() : InvalidArgument("no {}: it is without content", what);
}

// TensorFlow Lite's FlatBuffer: identifier, root table and that table's field table are in range.
Status CheckTflite(const std::string& path) {
  Result<ByteSource> source = ByteSource::OpenFile(path);
  if (!source.ok()) return source.status();
  const auto size = static_cast<int64_t>(source->size());
  if (size < 16 || source->Text(4, 8, 4) != "TFL3")
    return InvalidArgument("no TensorFlow Lite model: 'TFL3' is missing");
  const int64_t root = source->U32At(0);
  if (root < 8 || root > size - 4)
    return InvalidArgument("corrupt: the root table is at {} of {} bytes", root, size);
  const auto back =
      static_cast<int32_t>(static_cast<uint32_t>(source->U32At(static_cast<uint64_t>(root))));
  const int64_t fields = root - back;
  if (fields < 4 || fields > size - 4)
    return InvalidArgument("corrupt: the root's fields are at {} of {} bytes", fields, size);
  const int64_t length = source->U16At(static_cast<uint64_t>(fields));
  if (length < 4 || length % 2 != 0 || length > size - fields) {
    return InvalidArgument("corrupt: the root's fields have a length of {}", length);
  }
  return Status::Ok();
}

Status CheckSavedModel(const ModelConfig& config) {
  EK_RETURN_IF_ERROR(
      CheckMessage(config.path + "/saved_model.pb", 2, 15, "TensorFlow saved model"));
  size_t entries = 0;
  std::error_code error;
  for (fs::recursive_directory_iterator it(config.path, error), end; !error && it != end;
       it.increment(error)) {
    if (++entries > kMaxSavedModelEntries)
      return TooLarge("more than {} files", kMaxSavedModelEntries);
    std::error_code ignored;
    if (!it->is_symlink(ignored)) continue;
    const Result<std::string> resolved = ResolveInside(config.folder, it->path().string());
    if (!resolved.ok()) return resolved.status();
  }
  return error ? InvalidArgument("{}", error.message()) : Status::Ok();
}

Status CheckFake(const std::string& path) {
  Result<ByteSource> source = ByteSource::OpenFile(path);
  if (!source.ok()) return source.status();
  if (source->size() > kMaxFakeBytes)
    return TooLarge("{} bytes; at most {} are read", source->size(), kMaxFakeBytes);
  return Status::Ok();
}

Status CheckFormat(FileFormat format, const ModelConfig& config) {
  switch (format) {
    case FileFormat::kOnnx: return CheckOnnxFile(config.path, config.folder);
    case FileFormat::kIr:
      EK_RETURN_IF_ERROR(CheckSibling(config, ".bin", true));
      return CheckIrFile(config.path);
    case FileFormat::kTflite: return CheckTflite(config.path);
    case FileFormat::kTfGraph: return CheckMessage(config.path, 1, 15, "TensorFlow graph");
    case FileFormat::kTfSavedModel: return CheckSavedModel(config);
    case FileFormat::kPaddle:
      EK_RETURN_IF_ERROR(CheckSibling(config, ".pdiparams", true));
      return CheckMessage(config.path, 1, 15, "Paddle model");
    case FileFormat::kGguf: return CheckGgufFile(config.path).status();
    case FileFormat::kFake: return CheckFake(config.path);
  }
  return Status::Ok();
}

}  // namespace

Status CheckModelFile(const ModelConfig& config) {
  const Result<std::string> resolved = ResolveInside(config.folder, config.path);
  if (!resolved.ok()) return resolved.status();
  const std::optional<FileFormat> format = FormatOfPath(config.path);
  if (!format) return InvalidArgument("'{}' is no model file", config.path);
  const Status status = CheckFormat(*format, config);
  // A message about a file beside the model names that one already.
  if (status.ok() || status.message().starts_with('\'')) return status;
  return status.Annotate(fmt::format("'{}'", config.path));
}

}  // namespace evenkeel
