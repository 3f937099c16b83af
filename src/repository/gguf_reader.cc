#include "repository/gguf_reader.h"

#include <algorithm>
#include <bit>
#include <string_view>
#include <utility>

#include "core/format.h"
#include "core/parse.h"
#include "repository/gguf_cursor.h"

namespace evenkeel {
namespace {

// The least that an entry takes, to hold counts against what is left of the file.
constexpr uint64_t kLeastKeyBytes = 8 + 4 + 1;
constexpr uint64_t kLeastTensorBytes = 8 + 4 + 8 + 4 + 8;
constexpr uint64_t kLeastArrayBytes = 4 + 8;

class HeaderReader {
 public:
  explicit HeaderReader(ByteSource& source)
      : source_(source),
        limit_(std::min(source.size(), kMaxGgufHeaderBytes)),
        cursor_(source, 0, limit_) {}

  Result<GgufHeader> Read() {
    const Status status = ReadAll();
    if (status.ok()) return std::move(header_);
    // What is missing lies behind the limit, not behind the end.
    if (!cursor_.status().ok() && source_.size() > limit_) {
      return TooLarge("the header has more than {} MiB", kMaxGgufHeaderBytes >> 20);
    }
    return status;
  }

 private:
  Status ReadAll() {
    uint64_t tensors = 0;
    uint64_t keys = 0;
    EK_RETURN_IF_ERROR(ReadMagic());
    if (!cursor_.U64(&tensors) || !cursor_.U64(&keys)) return cursor_.status();
    EK_RETURN_IF_ERROR(CheckCount("keys", keys, kMaxGgufKeys, kLeastKeyBytes));
    EK_RETURN_IF_ERROR(CheckCount("tensors", tensors, kMaxGgufTensors, kLeastTensorBytes));
    for (uint64_t i = 0; i < keys; ++i) EK_RETURN_IF_ERROR(ReadKey(i, keys));
    EK_RETURN_IF_ERROR(CheckCount("tensors", tensors, kMaxGgufTensors, kLeastTensorBytes));
    header_.tensors.reserve(tensors);
    for (uint64_t i = 0; i < tensors; ++i) EK_RETURN_IF_ERROR(ReadTensor(i, tensors));
    header_.end = cursor_.at();
    return Status::Ok();
  }

  Status ReadMagic() {
    if (source_.Text(0, 4, 4) != "GGUF") return InvalidArgument("no GGUF file: 'GGUF' is missing");
    uint32_t version = 0;
    if (!cursor_.Skip(4) || !cursor_.U32(&version)) return cursor_.status();
    if (version != 0 && (version & 0xffff) == 0) {
      return Unsupported("the file is big-endian; only little-endian ones are read");
    }
    if (version != 2 && version != 3) {
      return Unsupported("version {} of GGUF is not supported; 2 and 3 are", version);
    }
    header_.version = version;
    return Status::Ok();
  }

  Status CheckCount(std::string_view what, uint64_t count, uint64_t most, uint64_t bytes) const {
    if (count > most) return TooLarge("{} {}; at most {} are supported", count, what, most);
    if (count > cursor_.left() / bytes) {
      return InvalidArgument("corrupt or cut off: {} {}, and {} bytes left for them", count, what,
                             cursor_.left());
    }
    return Status::Ok();
  }

  Status ReadKey(uint64_t index, uint64_t keys) {
    std::string key;
    const Status named = ReadName(kMaxGgufKeyBytes, &key);
    if (!named.ok()) return named.Annotate(fmt::format("key {} of {}", index + 1, keys));
    GgufValue value;
    uint32_t type = 0;
    Status status = cursor_.U32(&type) ? TypeOf(type, &value.type) : cursor_.status();
    if (status.ok()) status = ReadValue(&value);
    if (status.ok() && !header_.values.emplace(key, value).second) {
      status = InvalidArgument("is there twice");
    }
    return status.Annotate(fmt::format("key {}", Excerpt(key)));
  }

  Status ReadName(uint64_t most, std::string* name) {
    uint64_t begin = 0;
    uint64_t bytes = 0;
    if (!cursor_.String(&begin, &bytes)) return cursor_.status();
    if (bytes == 0 || bytes > most) {
      return InvalidArgument("the name has {} bytes, expected 1 to {}", bytes, most);
    }
    *name = source_.Text(begin, begin + bytes, most);
    return Status::Ok();
  }

  static Status TypeOf(uint32_t number, GgufType* type) {
    if (number >= kGgufTypeCount) return InvalidArgument("type {} is not known", number);
    *type = static_cast<GgufType>(number);
    return Status::Ok();
  }

  Status ReadValue(GgufValue* value) {
    value->at = cursor_.at();
    if (value->type == GgufType::kString) {
      return cursor_.String(&value->at, &value->count) ? Status::Ok() : cursor_.status();
    }
    if (value->type == GgufType::kArray) return SkipArray(1, value);
    if (value->type == GgufType::kBool) {
      uint64_t word = 0;
      if (!cursor_.Number(1, &word)) return cursor_.status();
      return word <= 1 ? Status::Ok() : InvalidArgument("expected a BOOL of 0 or 1, got {}", word);
    }
    return cursor_.Skip(InfoOf(value->type).bytes) ? Status::Ok() : cursor_.status();
  }

  // Moves behind an array; `value` gets its items' type, number and place.
  Status SkipArray(int depth, GgufValue* value) {
    if (depth > kMaxGgufNesting) {
      return InvalidArgument("arrays nested more than {} deep", kMaxGgufNesting);
    }
    uint32_t number = 0;
    if (!cursor_.U32(&number)) return cursor_.status();
    EK_RETURN_IF_ERROR(TypeOf(number, &value->item));
    if (!cursor_.U64(&value->count)) return cursor_.status();
    value->at = cursor_.at();
    const GgufTypeInfo& info = InfoOf(value->item);
    const uint64_t least = info.bytes != 0                    ? info.bytes
                           : value->item == GgufType::kString ? 8
                                                              : kLeastArrayBytes;
    if (value->count > cursor_.left() / least) {
      return InvalidArgument("corrupt or cut off: {} items of {}, and {} bytes left for them",
                             value->count, info.name, cursor_.left());
    }
    if (info.bytes != 0) {
      return cursor_.Skip(value->count * info.bytes) ? Status::Ok() : cursor_.status();
    }
    for (uint64_t i = 0; i < value->count; ++i) {
      EK_RETURN_IF_ERROR(SkipItem(value->item, depth));
    }
    return Status::Ok();
  }

  Status SkipItem(GgufType item, int depth) {
    if (item == GgufType::kArray) {
      GgufValue inner;
      return SkipArray(depth + 1, &inner);
    }
    uint64_t begin = 0;
    uint64_t bytes = 0;
    return cursor_.String(&begin, &bytes) ? Status::Ok() : cursor_.status();
  }

  Status ReadTensor(uint64_t index, uint64_t tensors) {
    GgufTensor tensor;
    const Status named = ReadName(kMaxGgufTensorName, &tensor.name);
    if (!named.ok()) return named.Annotate(fmt::format("tensor {} of {}", index + 1, tensors));
    const Status status = ReadTensorFields(&tensor);
    if (!status.ok()) return status.Annotate(fmt::format("tensor {}", Excerpt(tensor.name)));
    header_.tensors.push_back(std::move(tensor));
    return Status::Ok();
  }

  Status ReadTensorFields(GgufTensor* tensor) {
    uint32_t rank = 0;
    if (!cursor_.U32(&rank)) return cursor_.status();
    if (rank < 1 || rank > tensor->dims.size()) {
      return InvalidArgument("expected 1 to {} dimensions, got {}", tensor->dims.size(), rank);
    }
    tensor->rank = static_cast<int>(rank);
    for (uint32_t axis = 0; axis < rank; ++axis) {
      if (!cursor_.U64(&tensor->dims.at(axis))) return cursor_.status();
    }
    if (!cursor_.U32(&tensor->type) || !cursor_.U64(&tensor->offset)) return cursor_.status();
    return Status::Ok();
  }

  ByteSource& source_;
  const uint64_t limit_;
  GgufCursor cursor_;
  GgufHeader header_;
};

}  // namespace

Result<GgufHeader> ReadGgufHeader(ByteSource& source) { return HeaderReader(source).Read(); }

}  // namespace evenkeel
