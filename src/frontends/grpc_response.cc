#include "frontends/grpc_response.h"

#include <bit>
#include <cstring>

#include "core/check.h"
#include "frontends/grpc_wire_reader.h"

namespace evenkeel {
namespace {

size_t VarintSize(uint64_t value) {
  return (static_cast<size_t>(std::bit_width(value | 1)) + 6) / 7;
}

// Sizes of whole fields; every tag here is one byte, since all field numbers are below 16.
size_t BytesFieldSize(size_t size) { return 1 + VarintSize(size) + size; }
size_t TextFieldSize(std::string_view text) {
  return text.empty() ? 0 : BytesFieldSize(text.size());
}

class Out {
 public:
  explicit Out(std::byte* at) : at_(at) {}
  std::byte* at() const { return at_; }

  void Varint(uint64_t value) {
    while (value >= 0x80) {
      *at_++ = static_cast<std::byte>(value | 0x80);
      value >>= 7;
    }
    *at_++ = static_cast<std::byte>(value);
  }
  void Header(uint32_t field, size_t size) {
    Varint(WireTag(field, kWireBytes));
    Varint(size);
  }
  void Field(uint32_t field, const void* data, size_t size) {
    Header(field, size);
    if (size > 0) std::memcpy(at_, data, size);
    at_ += size;
  }
  // proto3 leaves empty strings out.
  void Text(uint32_t field, std::string_view text) {
    if (!text.empty()) Field(field, text.data(), text.size());
  }

 private:
  std::byte* at_;
};

size_t PackedShapeSize(const Shape& shape) {
  size_t size = 0;
  for (const int64_t d : shape.dims()) size += VarintSize(static_cast<uint64_t>(d));
  return size;
}

size_t OutputSize(const WireOutput& output) {
  const size_t shape = PackedShapeSize(output.shape);
  return TextFieldSize(output.name) + TextFieldSize(NameOf(output.dtype)) +
         (shape == 0 ? 0 : BytesFieldSize(shape));
}

void WriteOutput(const WireOutput& output, Out& out) {
  out.Header(5, OutputSize(output));
  out.Text(1, output.name);
  out.Text(2, NameOf(output.dtype));
  if (const size_t shape = PackedShapeSize(output.shape); shape > 0) {
    out.Header(3, shape);
    for (const int64_t d : output.shape.dims()) out.Varint(static_cast<uint64_t>(d));
  }
}

// parameters { key: "triton_final_response" value { bool_param: true } }, as a whole field. Clients
// of decoupled models look for it; with one answer a request, every answer is the last.
constexpr std::string_view kFinalMark =
    "\x22\x1b"
    "\x0a\x15triton_final_response"
    "\x12\x02\x08\x01";
static_assert(kFinalMark.size() == 2 + 0x1b);

}  // namespace

InferResponseWriter::InferResponseWriter(const WireInferResponse& response) : response_(response) {
  inner_size_ = TextFieldSize(response.model_name) + TextFieldSize(response.model_version) +
                TextFieldSize(response.id);
  if (response.in_stream) inner_size_ += kFinalMark.size();
  for (const WireOutput& output : response.outputs) {
    inner_size_ += BytesFieldSize(OutputSize(output)) + BytesFieldSize(output.data.size());
  }
  size_ = response.in_stream ? BytesFieldSize(inner_size_) : inner_size_;
}

void InferResponseWriter::Write(std::byte* begin) const {
  Out out(begin);
  if (response_.in_stream) out.Header(2, inner_size_);
  out.Text(1, response_.model_name);
  out.Text(2, response_.model_version);
  out.Text(3, response_.id);
  if (response_.in_stream) {
    std::memcpy(out.at(), kFinalMark.data(), kFinalMark.size());
    out = Out(out.at() + kFinalMark.size());
  }
  for (const WireOutput& output : response_.outputs) WriteOutput(output, out);
  for (const WireOutput& output : response_.outputs)
    out.Field(6, output.data.data(), output.data.size());
  EK_CHECK(out.at() == begin + size_);
}

std::string WriteStreamError(std::string_view id, std::string_view message) {
  const size_t inner = TextFieldSize(id);
  std::string text(TextFieldSize(message) + BytesFieldSize(inner), '\0');
  Out out(reinterpret_cast<std::byte*>(text.data()));
  out.Text(1, message);
  out.Header(2, inner);
  out.Text(3, id);
  return text;
}

}  // namespace evenkeel
