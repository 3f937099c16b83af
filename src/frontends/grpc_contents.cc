// Typed tensor contents (InferTensorContents) to dense tensors: DecodeContents() of grpc_wire.h.
//
// Two walks over the bytes: the first counts the elements, so that the second writes into memory of
// exactly that size.
#include <cstring>
#include <limits>

#include "core/format.h"
#include "frontends/grpc_wire.h"
#include "frontends/grpc_wire_reader.h"

namespace evenkeel {
namespace {

// The repeated field of InferTensorContents that carries a data type, and how its elements are
// encoded there.
struct ContentsField {
  uint32_t number = 0;  // 0: none
  const char* name = "";
  WireType element = kWireVarint;  // kWireBytes for bytes_contents
};

ContentsField FieldOf(DataType type) {
  switch (type) {
    case DataType::kBool: return {1, "bool_contents", kWireVarint};
    case DataType::kInt8:
    case DataType::kInt16:
    case DataType::kInt32: return {2, "int_contents", kWireVarint};
    case DataType::kInt64: return {3, "int64_contents", kWireVarint};
    case DataType::kUint8:
    case DataType::kUint16:
    case DataType::kUint32: return {4, "uint_contents", kWireVarint};
    case DataType::kUint64: return {5, "uint64_contents", kWireVarint};
    case DataType::kFp32: return {6, "fp32_contents", kWireFixed32};
    case DataType::kFp64: return {7, "fp64_contents", kWireFixed64};
    case DataType::kBytes: return {8, "bytes_contents", kWireBytes};
    default: return {};
  }
}

constexpr uint32_t kLastField = 8;  // of InferTensorContents; later ones are unknown and skipped

// Writes one element after another. Each returns false for a value that the data type does not
// hold.
class ElementWriter {
 public:
  ElementWriter(DataType type, std::byte* out) : type_(type), out_(out) {}

  bool Varint(uint64_t value) {
    switch (type_) {
      case DataType::kBool: return Put(static_cast<uint8_t>(value != 0));
      case DataType::kInt8: return Narrow<int8_t>(static_cast<int32_t>(value));
      case DataType::kInt16: return Narrow<int16_t>(static_cast<int32_t>(value));
      case DataType::kInt32: return Put(static_cast<int32_t>(value));
      case DataType::kUint8: return Narrow<uint8_t>(static_cast<uint32_t>(value));
      case DataType::kUint16: return Narrow<uint16_t>(static_cast<uint32_t>(value));
      case DataType::kUint32: return Put(static_cast<uint32_t>(value));
      default: return Put(value);
    }
  }
  // Room for `size` bytes that the caller fills.
  std::byte* Reserve(size_t size) {
    std::byte* const at = out_;
    out_ += size;
    return at;
  }
  template <typename T>
  bool Put(T value) {
    std::memcpy(Reserve(sizeof(T)), &value, sizeof(T));
    return true;
  }

 private:
  template <typename To, typename From>
  bool Narrow(From value) {
    if (value < std::numeric_limits<To>::min() || value > std::numeric_limits<To>::max())
      return false;
    return Put(static_cast<To>(value));
  }

  const DataType type_;
  std::byte* out_;
};

enum class Walk : uint8_t { kOk, kMalformed, kOtherField, kOutOfRange };

// Elements of one `contents` message. With `writer` null, adds the dense bytes they take to *bytes.
class ContentsWalk {
 public:
  ContentsWalk(ContentsField field, size_t element_size, ElementWriter* writer, size_t* bytes)
      : field_(field), element_size_(element_size), writer_(writer), bytes_(bytes) {}

  Walk Run(WireReader& in) {
    while (in.left() > 0) {
      uint32_t tag = 0;
      if (!in.Tag(&tag)) return Walk::kMalformed;
      const uint32_t type = tag & 7;
      Walk step = Walk::kOk;
      if (tag >> 3 == field_.number && type == static_cast<uint32_t>(field_.element)) {
        step = Element(in);
      } else if (tag >> 3 == field_.number && type == kWireBytes) {
        step = Packed(in);
      } else if (!in.SkipValue(tag)) {
        step = Walk::kMalformed;
      } else if (tag >> 3 <= kLastField) {
        step = Walk::kOtherField;
      }
      if (step != Walk::kOk) return step;
    }
    return Walk::kOk;
  }

 private:
  Walk Packed(WireReader& in) {
    size_t outer = 0;
    if (!in.Enter(&outer)) return Walk::kMalformed;
    if (field_.element != kWireVarint) {
      // Already dense.
      const size_t size = in.left();
      if (size % element_size_ != 0) return Walk::kMalformed;
      if (writer_ != nullptr) {
        in.CopyTo(writer_->Reserve(size), size);
      } else {
        *bytes_ += size;
        if (!in.Skip(size)) return Walk::kMalformed;
      }
    }
    while (in.left() > 0) {
      const Walk step = Element(in);
      if (step != Walk::kOk) return step;
    }
    return in.Leave(outer) ? Walk::kOk : Walk::kMalformed;
  }

  Walk Element(WireReader& in) {
    switch (field_.element) {
      case kWireVarint: return VarintElement(in);
      case kWireBytes: return BytesElement(in);
      default: {
        if (in.left() < element_size_) return Walk::kMalformed;
        if (writer_ != nullptr) {
          in.CopyTo(writer_->Reserve(element_size_), element_size_);
          return Walk::kOk;
        }
        *bytes_ += element_size_;
        return in.Skip(element_size_) ? Walk::kOk : Walk::kMalformed;
      }
    }
  }

  Walk VarintElement(WireReader& in) {
    uint64_t value = 0;
    if (!in.Varint(&value)) return Walk::kMalformed;
    if (writer_ != nullptr) return writer_->Varint(value) ? Walk::kOk : Walk::kOutOfRange;
    *bytes_ += element_size_;
    return Walk::kOk;
  }

  Walk BytesElement(WireReader& in) {
    size_t size = 0;
    if (!in.Length(&size)) return Walk::kMalformed;
    if (writer_ != nullptr) {
      writer_->Put(static_cast<uint32_t>(size));  // Length() is below 2^32: a message is
      in.CopyTo(writer_->Reserve(size), size);
      return Walk::kOk;
    }
    *bytes_ += sizeof(uint32_t) + size;
    return in.Skip(size) ? Walk::kOk : Walk::kMalformed;
  }

  const ContentsField field_;
  const size_t element_size_;
  ElementWriter* const writer_;
  size_t* const bytes_;
};

}  // namespace

Result<ByteSpan> DecodeContents(std::span<const ByteSpan> slices, const WireTensor& input,
                                DataType type, CallArena& arena) {
  const ContentsField field = FieldOf(type);
  if (field.number == 0) {
    return InvalidArgument("input '{}': {} has no typed form, send it in raw_input_contents",
                           input.name, NameOf(type));
  }
  const auto walk = [&](ElementWriter* writer, size_t* bytes) -> Status {
    for (const WireMark& mark : input.contents) {
      WireReader in(slices, mark);
      switch (ContentsWalk(field, ElementSize(type), writer, bytes).Run(in)) {
        case Walk::kOk: break;
        case Walk::kMalformed: return InvalidArgument("input '{}': malformed contents", input.name);
        case Walk::kOtherField:
          return InvalidArgument("input '{}': the elements of {} belong in {}, got another field",
                                 input.name, NameOf(type), field.name);
        case Walk::kOutOfRange:
          return InvalidArgument("input '{}': an element does not fit {}", input.name,
                                 NameOf(type));
      }
    }
    return Status::Ok();
  };
  size_t bytes = 0;
  EK_RETURN_IF_ERROR(walk(nullptr, &bytes));
  const std::span<std::byte> dense = arena.Allocate(bytes);
  ElementWriter writer(type, dense.data());
  EK_RETURN_IF_ERROR(walk(&writer, nullptr));
  return ByteSpan(dense);
}

}  // namespace evenkeel
