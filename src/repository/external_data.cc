#include "repository/external_data.h"

#include <filesystem>
#include <limits>
#include <utility>

#include "core/format.h"
#include "core/parse.h"
#include "repository/paths.h"

namespace evenkeel {
namespace {

Result<uint64_t> Number(std::string_view what, const std::string& text) {
  const Result<int64_t> value = ParseInt(text, 0, std::numeric_limits<int64_t>::max());
  if (!value.ok()) return value.status().Annotate(fmt::format("external data's {}", what));
  return static_cast<uint64_t>(*value);
}

}  // namespace

Result<uint64_t> ExternalData::SizeOf(const std::string& location) {
  const auto known = sizes_.find(location);
  if (known != sizes_.end()) return known->second;
  const Result<std::string> path = ResolveRelative(root_, base_, location);
  if (!path.ok()) return InvalidArgument("external data: {}", path.status().message());
  std::error_code error;
  if (!std::filesystem::is_regular_file(*path, error)) {
    return InvalidArgument("external data: '{}' is not a regular file", *path);
  }
  const uintmax_t size = std::filesystem::file_size(*path, error);
  if (error) return InvalidArgument("external data: '{}': {}", *path, error.message());
  sizes_.emplace(location, size);
  return size;
}

Status ExternalData::Check(const ExternalTensor& tensor, uint64_t bytes) {
  if (tensor.location.empty()) return InvalidArgument("external data without a location");
  const Result<uint64_t> size = SizeOf(tensor.location);
  if (!size.ok()) return size.status();
  const Result<uint64_t> offset =
      tensor.offset.empty() ? Result<uint64_t>(0) : Number("offset", tensor.offset);
  if (!offset.ok()) return offset.status();
  if (*offset > *size) {
    return InvalidArgument("external data {} has {} bytes, the offset is {}",
                           Excerpt(tensor.location), *size, *offset);
  }
  const uint64_t room = *size - *offset;
  if (!tensor.length.empty()) {
    const Result<uint64_t> length = Number("length", tensor.length);
    if (!length.ok()) return length.status();
    if (*length != bytes) {
      return InvalidArgument("needs {} bytes, its external data's length is {}", bytes, *length);
    }
  }
  if (bytes > room) {
    return InvalidArgument("needs {} bytes from {} on, external data {} has {}", bytes, *offset,
                           Excerpt(tensor.location), *size);
  }
  return Status::Ok();
}

}  // namespace evenkeel
