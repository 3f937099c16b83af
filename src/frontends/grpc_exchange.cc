#include "frontends/grpc_exchange.h"

#include <algorithm>
#include <limits>

#include "core/format.h"

namespace evenkeel {
namespace {

// gRPC's frame header has 32 bits for a message's size and the library an int.
constexpr size_t kMaxResponseBytes = std::numeric_limits<int32_t>::max();
// Longer timeouts than this are none; it keeps the arithmetic below far from overflow.
constexpr int64_t kLongestTimeoutUs = int64_t{365} * 24 * 3600 * 1'000'000;

// A whole number: int64_param or uint64_param, as clients send either.
Result<int64_t> Number(const WireParameter& parameter) {
  if (parameter.kind != WireParameter::Kind::kInt64 &&
      parameter.kind != WireParameter::Kind::kUint64) {
    return InvalidArgument("parameter '{}': expected int64_param or uint64_param", parameter.key);
  }
  if (parameter.kind == WireParameter::Kind::kUint64 && parameter.number < 0)
    return std::numeric_limits<int64_t>::max();
  return parameter.number;
}

bool IsSet(const WireParameter& parameter) {
  return parameter.kind == WireParameter::Kind::kString ? !parameter.text.empty()
                                                        : parameter.number != 0;
}

}  // namespace

Status GrpcExchange::Begin(const GuardedService& service, std::span<const ByteSpan> slices,
                           InferCall* call) {
  EK_RETURN_IF_ERROR(ReadInferRequest(slices, arena_, &request_));
  auto model = service.Find(request_.model_name, request_.model_version);
  if (!model.ok()) return model.status();
  model_ = std::move(model).value();
  const Status filled = Fill(slices, call);
  return filled.ok() ? filled : filled.Annotate(fmt::format("model '{}'", model_->name()));
}

Status GrpcExchange::Fill(std::span<const ByteSpan> slices, InferCall* call) {
  if (!request_.parameters.empty()) EK_RETURN_IF_ERROR(ReadParameters(call));
  if (!request_.raw.empty() && request_.raw.size() != request_.inputs.size()) {
    return InvalidArgument("expected one raw_input_contents an input ({}), got {}",
                           request_.inputs.size(), request_.raw.size());
  }
  call->inputs.reserve(request_.inputs.size());
  for (size_t i = 0; i < request_.inputs.size(); ++i) EK_RETURN_IF_ERROR(AddInput(slices, i, call));
  for (const WireTensor& output : request_.outputs) EK_RETURN_IF_ERROR(AddOutput(output));
  return Status::Ok();
}

Status GrpcExchange::ReadParameters(InferCall* call) const {
  for (const std::string_view key : {"sequence_id", "sequence_start", "sequence_end"}) {
    const WireParameter* const sequence = FindParameter(request_.parameters, key);
    if (sequence != nullptr && IsSet(*sequence)) {
      return Unsupported("parameter '{}': sequences are not supported", key);
    }
  }
  if (const WireParameter* const priority = FindParameter(request_.parameters, "priority")) {
    const auto value = Number(*priority);
    if (!value.ok()) return value.status();
    if (*value < 0 || *value > 16)
      return InvalidArgument("parameter 'priority': expected 0 to 16, got {}", *value);
    call->priority = static_cast<int>(*value);
  }
  if (const WireParameter* const timeout = FindParameter(request_.parameters, "timeout")) {
    const auto value = Number(*timeout);
    if (!value.ok()) return value.status();
    if (*value < 0)
      return InvalidArgument("parameter 'timeout': expected microseconds, got {}", *value);
    if (*value > 0 && *value < kLongestTimeoutUs) {
      call->deadline = std::min(call->deadline, call->arrived + std::chrono::microseconds(*value));
    }
  }
  return Status::Ok();
}

Status GrpcExchange::AddInput(std::span<const ByteSpan> slices, size_t index, InferCall* call) {
  const WireTensor& input = request_.inputs[index];
  const int spec = model_->signature().FindInput(input.name);
  if (spec < 0) return InvalidArgument("unknown input '{}'", input.name);
  if (FindParameter(input.parameters, "shared_memory_region") != nullptr) {
    return Unsupported("input '{}': shared memory is not supported, send the tensor in the request",
                       input.name);
  }
  TensorView view;
  view.spec = static_cast<uint32_t>(spec);
  view.dtype = DataTypeFromName(input.datatype);
  view.shape = input.shape;
  if (view.dtype == DataType::kInvalid)
    return InvalidArgument("input '{}': unknown datatype '{}'", input.name, input.datatype);
  if (input.rank > static_cast<size_t>(kMaxRank)) {
    return InvalidArgument("input '{}': expected at most {} dimensions, got {}", input.name,
                           kMaxRank, input.rank);
  }
  if (request_.raw.empty()) {
    auto data = DecodeContents(slices, input, view.dtype, arena_);
    if (!data.ok()) return data.status();
    view.data = *data;
  } else if (input.contents.empty()) {
    view.data = request_.raw[index];
  } else {
    return InvalidArgument(
        "input '{}': has contents, and the request has raw_input_contents; send one of them",
        input.name);
  }
  call->inputs.push_back(view);
  return Status::Ok();
}

Status GrpcExchange::AddOutput(const WireTensor& output) {
  const int spec = model_->signature().FindOutput(output.name);
  if (spec < 0) return InvalidArgument("unknown output '{}'", output.name);
  Requested requested{static_cast<uint32_t>(spec), 0};
  if (std::any_of(requested_.begin(), requested_.end(),
                  [&](const Requested& r) { return r.spec == requested.spec; })) {
    return InvalidArgument("output '{}' is requested twice", output.name);
  }
  if (FindParameter(output.parameters, "shared_memory_region") != nullptr) {
    return Unsupported(
        "output '{}': shared memory is not supported, the tensor is sent in the response",
        output.name);
  }
  if (const WireParameter* const classification =
          FindParameter(output.parameters, "classification")) {
    const auto classes = Number(*classification);
    if (!classes.ok()) return classes.status().Annotate(fmt::format("output '{}'", output.name));
    if (*classes < 1)
      return InvalidArgument("output '{}': parameter 'classification': expected at least 1, got {}",
                             output.name, *classes);
    requested.classes = *classes;
  }
  requested_.push_back(requested);
  return Status::Ok();
}

Result<size_t> GrpcExchange::Prepare(std::span<const TensorView> outputs, bool in_stream) {
  const Signature& signature = model_->signature();
  response_ = {model_->name(), model_->version(), request_.id, {}, in_stream};
  if (requested_.empty()) {
    requested_.resize(outputs.size());
    for (size_t i = 0; i < outputs.size(); ++i) requested_[i].spec = static_cast<uint32_t>(i);
  }
  response_.outputs.reserve(requested_.size());
  classified_.reserve(requested_.size());  // the response points into its elements
  for (const Requested& requested : requested_) {
    const TensorSpec& spec = signature.outputs[requested.spec];
    const TensorView& view = outputs[requested.spec];
    if (requested.classes == 0) {
      response_.outputs.push_back({spec.name, view.dtype, view.shape, view.data});
      continue;
    }
    auto classified = Classify(spec, view, signature.batched, requested.classes);
    if (!classified.ok()) return classified.status();
    const Classification& kept = classified_.emplace_back(std::move(classified).value());
    response_.outputs.push_back(
        {spec.name, DataType::kBytes, kept.shape, std::as_bytes(std::span(kept.bytes))});
  }
  writer_.emplace(response_);
  if (writer_->size() > kMaxResponseBytes) {
    return TooLarge("model '{}': the response has {} bytes, gRPC carries at most {}",
                    model_->name(), writer_->size(), kMaxResponseBytes);
  }
  return writer_->size();
}

}  // namespace evenkeel
