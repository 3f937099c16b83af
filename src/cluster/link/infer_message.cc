#include "cluster/link/infer_message.h"

#include <algorithm>
#include <string>
#include <utility>

#include "cluster/link/call_terms.h"
#include "core/format.h"
#include "core/parse.h"
#include "proto/node.pb.h"

namespace evenkeel {
namespace {

constexpr int kMostTensors = 1024;

void WriteTensor(const TensorView& view, const std::string& name, node::v1::Tensor* message) {
  message->set_name(name);
  message->set_datatype(std::string(NameOf(view.dtype)));
  for (const int64_t size : view.shape.dims()) message->add_shape(size);
  message->set_data(view.data.data(), view.data.size());
}

Result<Shape> ReadShape(const std::string& name,
                        const google::protobuf::RepeatedField<int64_t>& sizes, int64_t least) {
  if (sizes.size() > kMaxRank)
    return InvalidArgument("tensor '{}': expected at most {} dimensions, got {}", name, kMaxRank,
                           sizes.size());
  Shape shape;
  for (const int64_t size : sizes) {
    if (size < least) return InvalidArgument("tensor '{}': a dimension of {}", name, size);
    shape.push_back(size);
  }
  return shape;
}

Result<TensorView> ReadTensor(const node::v1::Tensor& message,
                              const std::vector<TensorSpec>& specs) {
  TensorView view;
  const auto spec = std::ranges::find(specs, message.name(), &TensorSpec::name);
  if (spec == specs.end())
    return InvalidArgument("tensor '{}' is not one of the model's", message.name());
  view.spec = static_cast<uint32_t>(spec - specs.begin());
  view.dtype = DataTypeFromName(message.datatype());
  if (view.dtype == DataType::kInvalid)
    return InvalidArgument("tensor '{}': unknown datatype '{}'", message.name(),
                           message.datatype());
  auto shape = ReadShape(message.name(), message.shape(), 0);
  if (!shape.ok()) return shape.status();
  view.shape = *shape;
  view.data = std::as_bytes(std::span(message.data()));
  if (view.dtype != DataType::kBytes) {
    const auto bytes = DenseBytes(view.dtype, view.shape);
    if (!bytes.ok()) return bytes.status().Annotate("tensor '" + message.name() + "'");
    if (*bytes != view.data.size())
      return InvalidArgument("tensor '{}': expected {} bytes, got {}", message.name(), *bytes,
                             view.data.size());
  }
  return view;
}

// Whoever writes the answer down trusts what the signature says and that BYTES are whole.
Status CheckOutput(const TensorView& view, const TensorSpec& spec) {
  if (view.dtype != spec.dtype)
    return InvalidArgument("tensor '{}': expected {}, got {}", spec.name, NameOf(spec.dtype),
                           NameOf(view.dtype));
  if (view.dtype != DataType::kBytes) return Status::Ok();
  const auto count = view.shape.ElementCount();
  if (!count) return InvalidArgument("tensor '{}': its shape is too large", spec.name);
  const auto bytes = BytesElementsSize(view.data, *count);
  if (!bytes.ok()) return bytes.status().Annotate("tensor '" + spec.name + "'");
  if (*bytes == view.data.size()) return Status::Ok();
  return InvalidArgument("tensor '{}': {} elements take {} bytes, got {}", spec.name, *count,
                         *bytes, view.data.size());
}

// Views of the message's tensors, each spec at most once.
Result<std::vector<TensorView>> ReadTensors(
    const google::protobuf::RepeatedPtrField<node::v1::Tensor>& tensors,
    const std::vector<TensorSpec>& specs) {
  if (tensors.size() > kMostTensors)
    return InvalidArgument("expected at most {} tensors, got {}", kMostTensors, tensors.size());
  std::vector<TensorView> views;
  std::vector<bool> seen(specs.size(), false);
  for (const auto& tensor : tensors) {
    auto view = ReadTensor(tensor, specs);
    if (!view.ok()) return view.status();
    if (seen[view->spec]) return InvalidArgument("tensor '{}' comes twice", tensor.name());
    seen[view->spec] = true;
    views.push_back(*view);
  }
  return views;
}

void WriteSpec(const TensorSpec& spec, node::v1::TensorDescription* message) {
  message->set_name(spec.name);
  message->set_datatype(std::string(NameOf(spec.dtype)));
  for (const int64_t size : spec.shape.dims()) message->add_shape(size);
  if (spec.range) {
    message->set_lowest_id(spec.range->lo);
    message->set_highest_id(spec.range->hi);
  }
  for (const std::string& label : spec.labels) message->add_labels(label);
}

Result<TensorSpec> ReadSpec(const node::v1::TensorDescription& message) {
  TensorSpec spec;
  spec.name = message.name();
  spec.dtype = DataTypeFromName(message.datatype());
  if (spec.dtype == DataType::kInvalid)
    return InvalidArgument("tensor '{}': unknown datatype '{}'", spec.name, message.datatype());
  auto shape = ReadShape(spec.name, message.shape(), kDynamic);
  if (!shape.ok()) return shape.status();
  spec.shape = *shape;
  if (message.has_lowest_id() && message.has_highest_id())
    spec.range = IdRange{message.lowest_id(), message.highest_id()};
  spec.labels.assign(message.labels().begin(), message.labels().end());
  return spec;
}

// FNV-1a: no secret is kept by it, and both ends are ours.
class Digest {
 public:
  void Add(std::string_view text) {
    for (const char c : text) Step(static_cast<uint8_t>(c));
    Step(0);
  }
  void Add(int64_t number) {
    for (int i = 0; i < 8; ++i)
      Step(static_cast<uint8_t>(static_cast<uint64_t>(number) >> (8 * i)));
  }
  uint64_t value() const { return hash_ == 0 ? 1 : hash_; }

 private:
  void Step(uint8_t byte) { hash_ = (hash_ ^ byte) * 0x100000001b3; }
  uint64_t hash_ = 0xcbf29ce484222325;
};

}  // namespace

void WriteCall(const InferCall& call, std::string_view model, std::string_view version,
               const Signature& signature, Time now, node::v1::InferRequest* message) {
  message->set_model(std::string(model));
  message->set_version(std::string(version));
  for (const TensorView& view : call.inputs)
    WriteTensor(view, signature.inputs[view.spec].name, message->add_inputs());
  WriteTerms(call, now, message);
}

Status ReadCall(const node::v1::InferRequest& message, const Signature& signature, Time now,
                InferCall* call) {
  auto inputs = ReadTensors(message.inputs(), signature.inputs);
  if (!inputs.ok()) return inputs.status();
  call->inputs = std::move(*inputs);
  return ReadTerms(message, now, call);
}

void WriteAnswer(const Status& status, std::span<const TensorView> outputs, const Timings& timings,
                 const Signature& signature, node::v1::InferResponse* message) {
  WriteOutcome(status, message->mutable_outcome());
  if (!status.ok()) return;
  for (const TensorView& view : outputs)
    WriteTensor(view, signature.outputs[view.spec].name, message->add_outputs());
  auto* times = message->mutable_timings();
  times->set_queue_ns(timings.queue.count());
  times->set_batch_ns(timings.batch.count());
  times->set_compute_ns(timings.compute.count());
  times->set_batch_rows(timings.batch_rows);
}

Result<std::vector<TensorView>> ReadAnswer(const node::v1::InferResponse& message,
                                           const Signature& signature, Timings* timings) {
  EK_RETURN_IF_ERROR(ReadOutcome(message.outcome()));
  auto views = ReadTensors(message.outputs(), signature.outputs);
  if (!views.ok()) return Internal("the other node's answer: {}", views.status().message());
  if (views->size() != signature.outputs.size())
    return Internal("the other node's answer: expected {} outputs, got {}",
                    signature.outputs.size(), views->size());
  for (const TensorView& view : *views) {
    if (const Status fits = CheckOutput(view, signature.outputs[view.spec]); !fits.ok())
      return Internal("the other node's answer: {}", fits.message());
  }
  std::ranges::sort(*views, {}, &TensorView::spec);
  timings->queue = ToldTime(message.timings().queue_ns());
  timings->batch = ToldTime(message.timings().batch_ns());
  timings->compute = ToldTime(message.timings().compute_ns());
  timings->batch_rows = std::max(0, message.timings().batch_rows());
  return views;
}

void WriteOutcome(const Status& status, node::v1::Outcome* message) {
  message->set_code(static_cast<uint32_t>(status.code()));
  if (status.ok()) return;
  // A message with half a character could not be read, and would count as a failure of the link.
  const std::string& text = status.message();
  message->set_message(IsUtf8(text) ? text : Excerpt(text, text.size()));
}

Status ReadOutcome(const node::v1::Outcome& message) {
  if (message.code() == 0) return Status::Ok();
  if (message.code() >= static_cast<uint32_t>(kCodeCount))
    return Internal("another node answered with the unknown code {}", message.code());
  return {static_cast<Code>(message.code()), message.message()};
}

void WriteSignature(const Signature& signature, node::v1::ModelDescription* message) {
  for (const TensorSpec& spec : signature.inputs) WriteSpec(spec, message->add_inputs());
  for (const TensorSpec& spec : signature.outputs) WriteSpec(spec, message->add_outputs());
  message->set_batched(signature.batched);
  message->set_max_batch(signature.max_batch);
}

Result<Signature> ReadSignature(const node::v1::ModelDescription& message) {
  Signature signature;
  for (const auto& one : message.inputs()) {
    auto spec = ReadSpec(one);
    if (!spec.ok()) return spec.status();
    signature.inputs.push_back(std::move(*spec));
  }
  for (const auto& one : message.outputs()) {
    auto spec = ReadSpec(one);
    if (!spec.ok()) return spec.status();
    signature.outputs.push_back(std::move(*spec));
  }
  signature.batched = message.batched();
  signature.max_batch = message.max_batch();
  if (signature.max_batch < 1)
    return InvalidArgument("a model that takes batches of {}", signature.max_batch);
  return signature;
}

uint64_t DigestOf(const Signature& signature) {
  Digest digest;
  for (const auto* specs : {&signature.inputs, &signature.outputs}) {
    digest.Add(static_cast<int64_t>(specs->size()));
    for (const TensorSpec& spec : *specs) {
      digest.Add(spec.name);
      digest.Add(NameOf(spec.dtype));
      digest.Add(spec.shape.rank());
      for (const int64_t size : spec.shape.dims()) digest.Add(size);
      digest.Add(spec.range ? spec.range->lo : 0);
      digest.Add(spec.range ? spec.range->hi : 0);
    }
  }
  digest.Add(signature.batched ? 1 : 0);  // how many rows at most is the node's affair
  return digest.value();
}

}  // namespace evenkeel
