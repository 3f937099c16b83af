#include "repository/onnx_tensor_check.h"

#include <algorithm>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "core/format.h"
#include "core/parse.h"
#include "repository/onnx_schema.h"

namespace evenkeel::onnx {
namespace {

constexpr size_t kMaxTensorRank = 64;
constexpr size_t kMaxText = 4'096;

// How many entries one of the typed data fields has. A packed varint takes 1 to 10 bytes, so its count is only bounded:
// counting exactly would mean reading the weights.
struct EntryCount {
  uint64_t least = 0;
  uint64_t most = 0;
  bool Holds(uint64_t n) const { return least <= n && n <= most; }
};

class TensorChecker {
 public:
  TensorChecker(ByteSource& source, ByteRange range, ExternalData& external, uint64_t* fields)
      : source_(source), range_(range), external_(external), fields_(*fields) {}

  Status Check() {
    EK_RETURN_IF_ERROR(Read());
    const Status status = CheckData();
    if (status.ok()) return status;
    return status.Annotate(
        fmt::format("tensor {} ({} {})", Excerpt(name_), TypeName(), DimsText()));
  }

 private:
  Status Read() {
    FileWireReader reader(source_, range_);
    FileWireField field;
    while (reader.Next(&field)) {
      ++fields_;
      EK_RETURN_IF_ERROR(ReadField(field));
    }
    return reader.status();
  }

  Status ReadField(const FileWireField& field) {
    const bool is_bytes = field.type == FileWireField::Type::kBytes;
    switch (field.number) {
      case 1: return ReadDims(field);
      case 2: type_ = field.value; break;
      case 3: return Unsupported("a tensor in segments is not supported");
      case 4: CountFixed(field, 4, &floats_); break;
      case 5: CountVarints(field, &int32s_); break;
      case 6: CountOne(&strings_); break;
      case 7: CountVarints(field, &int64s_); break;
      case 8:
        if (is_bytes) name_ = source_.Text(field.bytes.begin, field.bytes.end, 256);
        break;
      case 9:
        if (!is_bytes || raw_)
          return InvalidArgument("corrupt: a tensor with two raw_data, or one that is no bytes");
        raw_ = field.bytes.size();
        break;
      case 10: CountFixed(field, 8, &doubles_); break;
      case 11: CountVarints(field, &uint64s_); break;
      case 13: return ReadExternal(field);
      case 14: is_external_ = field.value == 1; break;
      default: break;
    }
    return Status::Ok();
  }

  Status AddDim(uint64_t value) {
    if (dims_.size() >= kMaxTensorRank) {
      return InvalidArgument("a tensor with more than {} dimensions", kMaxTensorRank);
    }
    dims_.push_back(static_cast<int64_t>(value));
    return Status::Ok();
  }

  Status ReadDims(const FileWireField& field) {
    if (field.type == FileWireField::Type::kVarint) return AddDim(field.value);
    if (field.type != FileWireField::Type::kBytes)
      return InvalidArgument("corrupt: a tensor's dims are no numbers");
    FileWireReader packed(source_, field.bytes);
    uint64_t value = 0;
    while (packed.NextVarint(&value)) EK_RETURN_IF_ERROR(AddDim(value));
    return packed.status();
  }

  Status ReadExternal(const FileWireField& entry) {
    if (entry.type != FileWireField::Type::kBytes)
      return InvalidArgument("corrupt: external_data is no message");
    FileWireReader reader(source_, entry.bytes);
    FileWireField field;
    std::string key;
    std::string value;
    while (reader.Next(&field)) {
      ++fields_;
      if (field.type != FileWireField::Type::kBytes) continue;
      // One byte more than is allowed, so that what is cut off never passes.
      if (field.number == 1) key = source_.Text(field.bytes.begin, field.bytes.end, kMaxText + 1);
      if (field.number == 2) value = source_.Text(field.bytes.begin, field.bytes.end, kMaxText + 1);
    }
    EK_RETURN_IF_ERROR(reader.status());
    if (value.size() > kMaxText)
      return InvalidArgument("external data: a value over {} bytes", kMaxText);
    std::string* slot = key == "location" ? &location_.location
                        : key == "offset" ? &location_.offset
                        : key == "length" ? &location_.length
                                          : nullptr;
    if (slot == nullptr) return Status::Ok();
    if (!slot->empty()) return InvalidArgument("external data: '{}' given twice", key);
    *slot = value;
    return Status::Ok();
  }

  static void CountOne(EntryCount* count) {
    ++count->least;
    ++count->most;
  }
  static void CountFixed(const FileWireField& field, uint64_t bytes, EntryCount* count) {
    if (field.type != FileWireField::Type::kBytes) return CountOne(count);
    count->least += field.bytes.size() / bytes;
    count->most += field.bytes.size() / bytes;
  }
  static void CountVarints(const FileWireField& field, EntryCount* count) {
    if (field.type != FileWireField::Type::kBytes) return CountOne(count);
    count->least += (field.bytes.size() + 9) / 10;
    count->most += field.bytes.size();
  }

  std::string_view TypeName() const {
    return type_ < kElementTypes.size() ? kElementTypes[type_].name : "unknown type";
  }
  std::string DimsText() const { return fmt::format("[{}]", fmt::join(dims_, ",")); }

  // Elements, with dimensions of zero left out of the overflow check's way.
  Result<uint64_t> ElementCount() const {
    uint64_t count = 1;
    bool zero = false;
    for (int64_t dim : dims_) {
      if (dim < 0) return InvalidArgument("a dimension is negative");
      if (dim == 0) {
        zero = true;
      } else if (__builtin_mul_overflow(count, static_cast<uint64_t>(dim), &count)) {
        return InvalidArgument("the number of elements overflows");
      }
    }
    if (count >> 57 != 0)
      return InvalidArgument("the number of elements overflows");  // x 128 bits must fit
    return zero ? 0 : count;
  }

  const EntryCount& Typed(int data_field) const {
    switch (data_field) {
      case 4: return floats_;
      case 5: return int32s_;
      case 6: return strings_;
      case 7: return int64s_;
      case 10: return doubles_;
      default: return uint64s_;
    }
  }

  Status CheckData() {
    const Result<uint64_t> count = ElementCount();
    if (!count.ok()) return count.status();
    if (type_ == 0 && *count == 0) return Status::Ok();
    if (type_ == 0 || type_ >= kElementTypes.size()) {
      return InvalidArgument("element type {} is not known", type_);
    }
    const ElementType& element = kElementTypes[type_];
    const uint64_t bytes = (*count * static_cast<uint64_t>(element.bits) + 7) / 8;
    if (is_external_) {
      if (element.bits == 0)
        return InvalidArgument("external data of {}, which has no fixed size", element.name);
      if (raw_.value_or(0) != 0) return InvalidArgument("has raw_data and external data");
      return external_.Check(location_, bytes);
    }
    const EntryCount& typed = Typed(element.data_field);
    if (raw_ && (*raw_ != 0 || typed.most == 0)) {
      if (element.bits == 0)
        return InvalidArgument("raw_data of {}, which has no fixed size", element.name);
      if (typed.most != 0) return InvalidArgument("has raw_data and typed data");
      if (*raw_ != bytes) return InvalidArgument("needs {} bytes, raw_data has {}", bytes, *raw_);
      return Status::Ok();
    }
    // Elements under a byte share the bytes that they would have in raw_data, one an entry.
    const uint64_t entries = element.bits > 0 && element.bits < 8
                                 ? bytes
                                 : *count * static_cast<uint64_t>(element.entries);
    if (!typed.Holds(entries)) {
      return InvalidArgument("needs {} entries of data, has {}{}", entries,
                             typed.least != typed.most ? "at most " : "", typed.most);
    }
    return Status::Ok();
  }

  ByteSource& source_;
  const ByteRange range_;
  ExternalData& external_;
  uint64_t& fields_;

  std::string name_;
  std::vector<int64_t> dims_;
  uint64_t type_ = 0;
  std::optional<uint64_t> raw_;  // bytes
  EntryCount floats_, int32s_, strings_, int64s_, doubles_, uint64s_;
  ExternalTensor location_;
  bool is_external_ = false;
};

}  // namespace

Status CheckTensor(ByteSource& source, ByteRange range, ExternalData& external, uint64_t* fields) {
  return TensorChecker(source, range, external, fields).Check();
}

}  // namespace evenkeel::onnx
