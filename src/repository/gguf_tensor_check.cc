#include "repository/gguf_tensor_check.h"

#include <algorithm>
#include <limits>
#include <map>
#include <span>
#include <string>
#include <vector>

#include "core/format.h"
#include "core/parse.h"

namespace evenkeel {
namespace {

// Where a tensor's bytes lie, from where the data begin.
struct Place {
  uint64_t begin = 0;
  uint64_t end = 0;
  const GgufTensor* tensor = nullptr;
};

std::string Name(const GgufTensor& tensor) {
  const GgmlTypeInfo* type = GgmlTypeOf(tensor.type);
  const std::span<const uint64_t> dims(tensor.dims.data(), static_cast<size_t>(tensor.rank));
  return fmt::format("tensor {} ({} [{}])", Excerpt(tensor.name),
                     type != nullptr ? type->name : "unknown type", fmt::join(dims, ","));
}

Status CheckNames(const std::vector<GgufTensor>& tensors) {
  std::vector<std::string_view> names;
  for (const GgufTensor& tensor : tensors) names.push_back(tensor.name);
  std::ranges::sort(names);
  const auto twice = std::ranges::adjacent_find(names);
  if (twice == names.end()) return Status::Ok();
  return InvalidArgument("tensor {}: is there twice", Excerpt(*twice));
}

struct Size {
  uint64_t elements = 1;
  uint64_t bytes = 0;
};

Result<Size> SizeOf(const GgufTensor& tensor) {
  const GgmlTypeInfo* type = GgmlTypeOf(tensor.type);
  if (type == nullptr) return Unsupported("type {} is not known", tensor.type);
  Size size;
  for (uint64_t dim : tensor.dims) {
    if (dim == 0) return InvalidArgument("a dimension is 0");
    if (__builtin_mul_overflow(size.elements, dim, &size.elements) ||
        size.elements > static_cast<uint64_t>(std::numeric_limits<int64_t>::max())) {
      return InvalidArgument("the number of elements overflows");
    }
  }
  if (tensor.dims[0] % type->elements != 0) {
    return InvalidArgument("expected rows of a multiple of {} numbers, got {}", type->elements,
                           tensor.dims[0]);
  }
  if (__builtin_mul_overflow(size.elements / type->elements, uint64_t{type->bytes}, &size.bytes)) {
    return InvalidArgument("the number of bytes overflows");
  }
  return size;
}

// The tensor's place among `data_bytes` bytes of data, which begin at byte `data_begin` of the file.
Result<Place> PlaceOf(const GgufTensor& tensor, uint64_t bytes, uint64_t alignment,
                      uint64_t data_begin, uint64_t data_bytes) {
  if (tensor.offset % alignment != 0) {
    return InvalidArgument("expected an offset that is a multiple of {}, got {}", alignment,
                           tensor.offset);
  }
  if (tensor.offset > data_bytes || bytes > data_bytes - tensor.offset) {
    return InvalidArgument(
        "cut off or corrupt: needs {} bytes from {} on, the data have {}, from byte {} of the file",
        bytes, tensor.offset, data_bytes, data_begin);
  }
  return Place{tensor.offset, tensor.offset + bytes, &tensor};
}

Status CheckApart(std::vector<Place> places) {
  std::ranges::sort(places, {}, &Place::begin);
  for (size_t i = 1; i < places.size(); ++i) {
    if (places[i].begin >= places[i - 1].end) continue;
    return InvalidArgument("{}: begins at {}, inside {}, which ends at {}", Name(*places[i].tensor),
                           places[i].begin, Name(*places[i - 1].tensor), places[i - 1].end);
  }
  return Status::Ok();
}

}  // namespace

Result<GgufWeights> CheckGgufTensors(const GgufHeader& header, uint64_t alignment,
                                     uint64_t file_bytes) {
  if (header.tensors.empty()) return InvalidArgument("there are no tensors in it");
  EK_RETURN_IF_ERROR(CheckNames(header.tensors));
  const uint64_t data_begin = (header.end + alignment - 1) / alignment * alignment;
  const uint64_t data_bytes = file_bytes - std::min(data_begin, file_bytes);
  GgufWeights weights;
  std::vector<Place> places;
  std::map<std::string_view, uint64_t> bytes_of;
  for (const GgufTensor& tensor : header.tensors) {
    const Result<Size> size = SizeOf(tensor);
    if (!size.ok()) return size.status().Annotate(Name(tensor));
    const Result<Place> place = PlaceOf(tensor, size->bytes, alignment, data_begin, data_bytes);
    if (!place.ok()) return place.status().Annotate(Name(tensor));
    places.push_back(*place);
    if (__builtin_add_overflow(weights.parameters, size->elements, &weights.parameters) ||
        __builtin_add_overflow(weights.bytes, size->bytes, &weights.bytes)) {
      return InvalidArgument("{}: the sum of sizes overflows", Name(tensor));
    }
    bytes_of[GgmlTypeOf(tensor.type)->name] += size->bytes;
  }
  EK_RETURN_IF_ERROR(CheckApart(std::move(places)));
  using Entry = std::pair<const std::string_view, uint64_t>;
  weights.main_type = std::ranges::max_element(bytes_of, {}, &Entry::second)->first;
  return weights;
}

Status CheckGgufTensorNames(const GgufHeader& header, uint64_t blocks, uint64_t embedding,
                            uint64_t vocabulary) {
  constexpr std::string_view kBlock = "blk.";
  const GgufTensor* embeddings = nullptr;
  for (const GgufTensor& tensor : header.tensors) {
    if (tensor.name == "token_embd.weight") embeddings = &tensor;
    if (!tensor.name.starts_with(kBlock)) continue;
    const std::string_view rest = std::string_view(tensor.name).substr(kBlock.size());
    const std::string_view number = rest.substr(0, rest.find('.'));
    if (!ParseInt(number, 0, static_cast<int64_t>(blocks) - 1).ok()) {
      return InvalidArgument("{}: expected a block from 0 to {}, got {}", Name(tensor), blocks - 1,
                             Excerpt(number));
    }
  }
  if (embeddings == nullptr) return InvalidArgument("tensor 'token_embd.weight' is missing");
  if (embedding != 0 && embeddings->dims[0] != embedding) {
    return InvalidArgument("{}: expected rows of embedding_length, {}", Name(*embeddings),
                           embedding);
  }
  if (embeddings->dims[1] != vocabulary || embeddings->rank > 2) {
    return InvalidArgument("{}: expected a row for each of {} tokens", Name(*embeddings),
                           vocabulary);
  }
  return Status::Ok();
}

}  // namespace evenkeel
