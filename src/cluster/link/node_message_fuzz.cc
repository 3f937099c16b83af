// Fuzzes what a node reads from another: the first byte says which message the rest is. What is accepted is written again as the same,
// and nothing of an answer points out of its message.
#include <algorithm>
#include <cstdint>
#include <string>
#include <string_view>

#include "cluster/link/figures_message.h"
#include "cluster/link/generation_message.h"
#include "cluster/link/infer_message.h"
#include "cluster/link/state_message.h"
#include "cluster/live/told_answer.h"
#include "core/check.h"
#include "core/parse.h"
#include "proto/node.pb.h"

namespace evenkeel {
namespace {

const Time kNow = Time(std::chrono::hours(1));

struct Call final : InferCall {
  void Done(const Status& /*status*/, std::span<const TensorView> /*outputs*/,
            const Timings& /*timings*/) override {}
};

struct Generation final : GenerationCall {
  void OnStart(int /*prompt_tokens*/) override {}
  void OnDelta(const GenerationDelta& /*delta*/) override {}
  void OnFinish(int /*choice*/, FinishReason /*reason*/) override {}
  void Done(const Status& /*status*/, const GenerationUsage& /*usage*/) override {}
};

const Signature& Model() {
  static const Signature signature = [] {
    Signature made;
    for (auto* specs : {&made.inputs, &made.outputs}) {
      *specs = {{"x", DataType::kFp32, Shape{kDynamic, 4}, {}, {}},
                {"ids", DataType::kInt64, Shape{kDynamic}, {}, {}},
                {"text", DataType::kBytes, Shape{kDynamic, 1}, {}, {}}};
    }
    made.outputs.pop_back();
    made.batched = true;
    made.max_batch = 8;
    return made;
  }();
  return signature;
}

// An error's words go into answers and logs.
void CheckError(const Status& status) {
  EK_CHECK(!status.ok());
  EK_CHECK(IsUtf8(status.message()));
}

void CheckInside(const TensorView& view, const std::string& data) {
  EK_CHECK(view.data.size() == data.size());
  EK_CHECK(data.empty() || view.data.data() == reinterpret_cast<const std::byte*>(data.data()));
  if (view.dtype != DataType::kBytes)
    EK_CHECK(DenseBytes(view.dtype, view.shape).value() == view.data.size());
}

void FuzzCall(const std::string& bytes) {
  node::v1::InferRequest message, first, second;
  if (!message.ParseFromString(bytes)) return;
  Call call, again;
  if (const Status read = ReadCall(message, Model(), kNow, &call); !read.ok())
    return CheckError(read);
  EK_CHECK(call.inputs.size() == static_cast<size_t>(message.inputs_size()));
  for (size_t i = 0; i < call.inputs.size(); ++i)
    CheckInside(call.inputs[i], message.inputs(static_cast<int>(i)).data());
  EK_CHECK(call.deadline > kNow && call.priority >= 0);
  WriteCall(call, message.model(), message.version(), Model(), kNow, &first);
  EK_CHECK(ReadCall(first, Model(), kNow, &again).ok());
  WriteCall(again, message.model(), message.version(), Model(), kNow, &second);
  EK_CHECK(first.SerializeAsString() == second.SerializeAsString());
}

void FuzzAnswer(const std::string& bytes) {
  node::v1::InferResponse message, first, second;
  if (!message.ParseFromString(bytes)) return;
  Timings timings, same;
  const auto views = ReadAnswer(message, Model(), &timings);
  if (!views.ok()) return CheckError(views.status());
  // Whoever writes the answer down goes by the signature.
  EK_CHECK(views->size() == Model().outputs.size());
  for (size_t i = 0; i < views->size(); ++i) {
    EK_CHECK((*views)[i].spec == i && (*views)[i].dtype == Model().outputs[i].dtype);
  }
  WriteAnswer(Status::Ok(), *views, timings, Model(), &first);
  const auto again = ReadAnswer(first, Model(), &same);
  EK_CHECK(again.ok());
  WriteAnswer(Status::Ok(), *again, same, Model(), &second);
  EK_CHECK(first.SerializeAsString() == second.SerializeAsString());
}

void FuzzDescription(const std::string& bytes) {
  node::v1::ModelDescription message, first;
  if (!message.ParseFromString(bytes)) return;
  static_cast<void>(ReadLanguage(message.name(), message.language()));
  const auto signature = ReadSignature(message);
  if (!signature.ok()) return CheckError(signature.status());
  EK_CHECK(signature->max_batch >= 1 && DigestOf(*signature) != 0);
  WriteSignature(*signature, &first);
  const auto again = ReadSignature(first);
  EK_CHECK(again.ok() && DigestOf(*again) == DigestOf(*signature));
}

void FuzzGeneration(const std::string& bytes) {
  node::v1::GenerateRequest message, first, second;
  if (!message.ParseFromString(bytes)) return;
  Generation call, again;
  if (const Status read = ReadGeneration(message, kNow, &call); !read.ok()) return CheckError(read);
  EK_CHECK(call.request.choices >= 1 && call.request.choices <= 128);
  EK_CHECK(call.request.max_tokens >= 0 && call.deadline > kNow);
  WriteGeneration(call, message.model(), kNow, &first);
  EK_CHECK(ReadGeneration(first, kNow, &again).ok());
  WriteGeneration(again, message.model(), kNow, &second);
  EK_CHECK(first.SerializeAsString() == second.SerializeAsString());
}

void FuzzEvent(const std::string& bytes) {
  node::v1::GenerateEvent message, first, second;
  if (!message.ParseFromString(bytes)) return;
  if (message.has_delta()) {
    const GenerationDelta delta = ReadDelta(message);
    // Without an order of its own, what comes twice is told once.
    ToldAnswer told(2);
    if (told.valid(delta.choice)) {
      const auto fresh = told.OnDelta(delta);
      static_cast<void>(told.Resume());
      const auto repeated = told.OnDelta(delta);
      EK_CHECK(!fresh || fresh->text == delta.text);
      EK_CHECK(!repeated || (repeated->text.empty() && repeated->reasoning.empty()));
    }
    WriteDelta(delta, &first);
    WriteDelta(ReadDelta(first), &second);
    EK_CHECK(first.SerializeAsString() == second.SerializeAsString());
  } else if (message.has_done()) {
    GenerationUsage usage;
    if (const Status outcome = ReadDone(message, &usage); !outcome.ok()) CheckError(outcome);
  } else if (message.has_move()) {
    const MoveOffer offer = ReadMove(message);
    EK_CHECK(offer.state_bytes >= 0 && offer.tokens >= 0);
    WriteMove(offer, &first);
    WriteMove(ReadMove(first), &second);
    EK_CHECK(first.SerializeAsString() == second.SerializeAsString());
  } else if (message.has_finish()) {
    if (const auto reason = ReadReason(message.finish().reason()); !reason.ok())
      CheckError(reason.status());
  }
}

void FuzzFigures(const std::string& bytes) {
  node::v1::Figures message, first, second;
  if (!message.ParseFromString(bytes)) return;
  const auto figures = ReadFigures(message);
  if (!figures.ok()) return CheckError(figures.status());
  // What routing divides by and adds up.
  EK_CHECK(figures->cores > 0 && figures->cores <= 1e9);
  EK_CHECK(figures->backlog_s >= 0 && figures->backlog_s <= 1e9);
  for (const ModelFigures& model : figures->models) {
    EK_CHECK(model.row_s >= 0 && model.alone_s >= 0 && model.prompt_token_s >= 0);
    EK_CHECK(model.slots >= 0 && model.open >= 0 && model.late_row_s >= 0);
    for (const double step_s : model.step_s) EK_CHECK(step_s > 0);
  }
  for (const ModelFigures& graph : figures->graphs)
    EK_CHECK(!graph.name.empty() && graph.version.size() <= 20 && graph.row_s == 0);
  WriteFigures(*figures, &first);
  const auto again = ReadFigures(first);
  EK_CHECK(again.ok());
  WriteFigures(*again, &second);
  EK_CHECK(first.SerializeAsString() == second.SerializeAsString());
}

// Both requests: the one's fields are the other's.
void FuzzStateRequest(const std::string& bytes) {
  node::v1::ReadStateRequest asked, again;
  if (asked.ParseFromString(bytes)) {
    const auto request = ReadStateRequest(asked);
    if (!request.ok()) {
      CheckError(request.status());
    } else {
      EK_CHECK(request->answer != 0 && request->binding.size() <= kLongestBinding);
      WriteStateRequest(*request, &again);
      EK_CHECK(ReadStateRequest(again).ok());
    }
  }
  node::v1::TakeStateRequest ordered, repeated;
  if (!ordered.ParseFromString(bytes)) return;
  const auto order = ReadStateOrder(ordered);
  if (!order.ok()) return CheckError(order.status());
  EK_CHECK(order->answer != 0 && order->bytes >= 0 && order->tokens >= 0);
  WriteStateOrder(*order, &repeated);
  EK_CHECK(ReadStateOrder(repeated).ok());
}

// Events one after the other, each behind the two bytes of its length.
void FuzzState(std::string_view bytes) {
  StateReader reader("fuzz");
  while (bytes.size() >= 2) {
    const size_t size =
        static_cast<unsigned char>(bytes[0]) * size_t{256} + static_cast<unsigned char>(bytes[1]);
    bytes.remove_prefix(2);
    node::v1::StateEvent event;
    if (!event.ParseFromString(std::string(bytes.substr(0, size)))) return;
    bytes.remove_prefix(std::min(size, bytes.size()));
    if (const Status added = reader.Add(event); !added.ok()) return CheckError(added);
  }
  const auto state = reader.Take();
  if (!state.ok()) return CheckError(state.status());
  EK_CHECK(!state->bytes.empty() && state->bytes.size() <= kMostStateBytes);
  EK_CHECK(!state->tokens.empty() && state->kind.size() <= kLongestStateKind);
}

}  // namespace
}  // namespace evenkeel

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace evenkeel;  // NOLINT
  if (size == 0) return 0;
  const std::string bytes(reinterpret_cast<const char*>(data) + 1, size - 1);
  switch (data[0] % 8) {
    case 0: FuzzCall(bytes); break;
    case 1: FuzzAnswer(bytes); break;
    case 2: FuzzDescription(bytes); break;
    case 3: FuzzGeneration(bytes); break;
    case 4: FuzzEvent(bytes); break;
    case 5: FuzzFigures(bytes); break;
    case 6: FuzzStateRequest(bytes); break;
    default: FuzzState(bytes); break;
  }
  return 0;
}
