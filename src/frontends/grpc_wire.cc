#include "frontends/grpc_wire.h"

#include <algorithm>
#include <bit>
#include <limits>

#include "core/format.h"
#include "frontends/grpc_wire_reader.h"

static_assert(std::endian::native == std::endian::little,
              "the wire's scalars are copied as they are");

namespace evenkeel {
namespace {

// Field numbers of the published protocol (proto/grpc_service.proto).
constexpr uint32_t Text(uint32_t field) { return WireTag(field, kWireBytes); }

// Reads one request. Each method returns false when the bytes are malformed or over_limit_ was set.
class RequestReader {
 public:
  RequestReader(std::span<const ByteSpan> slices, CallArena& arena, WireInferRequest* request)
      : in_(slices), arena_(arena), request_(*request) {}

  Status Read() {
    if (Request()) return Status::Ok();
    if (over_limit_ != nullptr) return TooLarge("inference request: too many {}", over_limit_);
    return InvalidArgument("inference request: malformed protobuf message");
  }

 private:
  bool Request();
  bool Tensor(std::vector<WireTensor>& tensors, const char* what,
              bool (RequestReader::*field)(uint32_t, WireTensor&));
  bool InputField(uint32_t tag, WireTensor& input);
  bool OutputField(uint32_t tag, WireTensor& output);
  bool Dimension(WireTensor& input);
  bool Parameter(std::vector<WireParameter>& parameters);
  bool ParameterValue(WireParameter& parameter);
  bool Exceeds(size_t count, size_t limit, const char* what) {
    if (count >= limit) over_limit_ = what;
    return count >= limit;
  }

  WireReader in_;
  CallArena& arena_;
  WireInferRequest& request_;
  size_t parameters_ = 0;
  const char* over_limit_ = nullptr;
};

bool RequestReader::Request() {
  while (in_.left() > 0) {
    uint32_t tag = 0;
    if (!in_.Tag(&tag)) return false;
    bool ok = false;
    switch (tag) {
      case Text(1): ok = in_.Text(arena_, &request_.model_name); break;
      case Text(2): ok = in_.Text(arena_, &request_.model_version); break;
      case Text(3): ok = in_.Text(arena_, &request_.id); break;
      case Text(4): ok = Parameter(request_.parameters); break;
      case Text(5): ok = Tensor(request_.inputs, "inputs", &RequestReader::InputField); break;
      case Text(6): ok = Tensor(request_.outputs, "outputs", &RequestReader::OutputField); break;
      case Text(7):
        ok = !Exceeds(request_.raw.size(), kMaxWireTensors, "raw_input_contents") &&
             in_.Bytes(arena_, &request_.raw.emplace_back());
        break;
      default: ok = in_.SkipValue(tag);
    }
    if (!ok) return false;
  }
  return true;
}

bool RequestReader::Tensor(std::vector<WireTensor>& tensors, const char* what,
                           bool (RequestReader::*field)(uint32_t, WireTensor&)) {
  size_t outer = 0;
  if (Exceeds(tensors.size(), kMaxWireTensors, what) || !in_.Enter(&outer)) return false;
  WireTensor& tensor = tensors.emplace_back();
  while (in_.left() > 0) {
    uint32_t tag = 0;
    if (!in_.Tag(&tag) || !(this->*field)(tag, tensor)) return false;
  }
  return in_.Leave(outer);
}

bool RequestReader::Dimension(WireTensor& input) {
  uint64_t value = 0;
  if (!in_.Varint(&value)) return false;
  if (!input.shape.full()) input.shape.push_back(static_cast<int64_t>(value));
  ++input.rank;
  return true;
}

bool RequestReader::InputField(uint32_t tag, WireTensor& input) {
  switch (tag) {
    case Text(1): return in_.Text(arena_, &input.name);
    case Text(2): return in_.Text(arena_, &input.datatype);
    case WireTag(3, kWireVarint): return Dimension(input);
    case Text(3): {
      size_t outer = 0;
      if (!in_.Enter(&outer)) return false;
      while (in_.left() > 0) {
        if (!Dimension(input)) return false;
      }
      return in_.Leave(outer);
    }
    case Text(4): return Parameter(input.parameters);
    case Text(5):
      return !Exceeds(input.contents.size(), kMaxWireContents, "contents of one input") &&
             in_.Mark(&input.contents.emplace_back());
    default: return in_.SkipValue(tag);
  }
}

bool RequestReader::OutputField(uint32_t tag, WireTensor& output) {
  switch (tag) {
    case Text(1): return in_.Text(arena_, &output.name);
    case Text(2): return Parameter(output.parameters);
    default: return in_.SkipValue(tag);
  }
}

bool RequestReader::Parameter(std::vector<WireParameter>& parameters) {
  size_t outer = 0;
  if (Exceeds(parameters_++, kMaxWireParameters, "parameters") || !in_.Enter(&outer)) return false;
  WireParameter& parameter = parameters.emplace_back();
  while (in_.left() > 0) {
    uint32_t tag = 0;
    if (!in_.Tag(&tag)) return false;
    const bool ok = tag == Text(1)   ? in_.Text(arena_, &parameter.key)
                    : tag == Text(2) ? ParameterValue(parameter)
                                     : in_.SkipValue(tag);
    if (!ok) return false;
  }
  return in_.Leave(outer);
}

bool RequestReader::ParameterValue(WireParameter& parameter) {
  using Kind = WireParameter::Kind;
  size_t outer = 0;
  if (!in_.Enter(&outer)) return false;
  while (in_.left() > 0) {
    uint32_t tag = 0;
    uint64_t bits = 0;
    if (!in_.Tag(&tag)) return false;
    bool ok = false;
    Kind kind = parameter.kind;
    switch (tag) {
      case WireTag(1, kWireVarint):
        ok = in_.Varint(&bits), kind = Kind::kBool, bits = bits != 0;
        break;
      case WireTag(2, kWireVarint): ok = in_.Varint(&bits), kind = Kind::kInt64; break;
      case Text(3): ok = in_.Text(arena_, &parameter.text), kind = Kind::kString; break;
      case WireTag(4, kWireFixed64): ok = in_.Fixed64(&bits), kind = Kind::kDouble; break;
      case WireTag(5, kWireVarint): ok = in_.Varint(&bits), kind = Kind::kUint64; break;
      default: ok = in_.SkipValue(tag), bits = std::bit_cast<uint64_t>(parameter.number);
    }
    if (!ok) return false;
    parameter.kind = kind;
    parameter.number = static_cast<int64_t>(bits);
    if (tag == WireTag(4, kWireFixed64)) parameter.real = std::bit_cast<double>(bits);
  }
  return in_.Leave(outer);
}

}  // namespace

std::span<std::byte> CallArena::Allocate(size_t bytes) {
  blocks_.emplace_back(new std::byte[bytes]);  // not make_unique: no need to clear it
  return {blocks_.back().get(), bytes};
}

void WireInferRequest::Clear() {
  model_name = model_version = id = {};
  parameters.clear();
  inputs.clear();
  outputs.clear();
  raw.clear();
}

Status ReadInferRequest(std::span<const ByteSpan> slices, CallArena& arena,
                        WireInferRequest* request) {
  return RequestReader(slices, arena, request).Read();
}

const WireParameter* FindParameter(std::span<const WireParameter> parameters,
                                   std::string_view key) {
  const auto found = std::find_if(parameters.rbegin(), parameters.rend(),
                                  [key](const WireParameter& p) { return p.key == key; });
  return found == parameters.rend() ? nullptr : &*found;
}

}  // namespace evenkeel
