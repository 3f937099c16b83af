#include "cluster/link/forwarded_calls.h"

#include <utility>

#include "cluster/link/generation_message.h"
#include "cluster/link/infer_message.h"
#include "core/format.h"

namespace evenkeel {
namespace {

// A node that reads so slowly that this much waits for it has its call cancelled.
constexpr size_t kMostUnsent = size_t{4} << 20;

}  // namespace

ForwardedInfer::ForwardedInfer(NodeHost& host, const Clock& clock,
                               const node::v1::InferRequest& request,
                               node::v1::InferResponse* response)
    : response_(response) {
  auto found = host.FindOwn(request.model(), request.version());
  if (!found.ok()) {
    Done(found.status(), {}, {});
    return;
  }
  // Figures may be of before one took the other's name. Calls of steps that became calls of graphs could go round.
  if ((*found)->calls_others() != request.graph()) {
    Done(NotFound("'{}' is a {} here now, and no {}", request.model(),
                  request.graph() ? "model" : "graph of models",
                  request.graph() ? "graph" : "model"),
         {}, {});
    return;
  }
  model_ = std::move(*found);
  if (const Status read = ReadCall(request, model_->signature(), clock.Now(), this); !read.ok()) {
    Done(read, {}, {});
    return;
  }
  // Both may be gone when it returns.
  const std::shared_ptr<ServedModel> model = model_;
  model->Infer(this);
}

void ForwardedInfer::Done(const Status& status, std::span<const TensorView> outputs,
                          const Timings& timings) {
  static const Signature kNone;
  WriteAnswer(status, outputs, timings, model_ ? model_->signature() : kNone, response_);
  Finish(grpc::Status::OK);
}

void ForwardedInfer::GivenBack() {
  response_->set_given_back(true);
  Finish(grpc::Status::OK);
}

void ForwardedInfer::OnCancel() {
  if (model_) model_->Cancel(this);
}

ForwardedGeneration::ForwardedGeneration(NodeHost& host, const Clock& clock,
                                         const node::v1::GenerateRequest& message) {
  auto found = host.FindOwnLanguage(message.model());
  if (!found.ok()) {
    Done(found.status(), {});
    return;
  }
  model_ = std::move(*found);
  if (const Status read = ReadGeneration(message, clock.Now(), this); !read.ok()) {
    Done(read, {});
    return;
  }
  const std::shared_ptr<LanguageModel> model = model_;
  model->Generate(this);
}

void ForwardedGeneration::OnStart(int prompt_tokens) {
  node::v1::GenerateEvent event;
  event.mutable_start()->set_prompt_tokens(prompt_tokens);
  Send(std::move(event), false);
}

void ForwardedGeneration::OnDelta(const GenerationDelta& delta) {
  node::v1::GenerateEvent event;
  WriteDelta(delta, &event);
  Send(std::move(event), false);
}

void ForwardedGeneration::OnFinish(int choice, FinishReason reason) {
  node::v1::GenerateEvent event;
  event.mutable_finish()->set_choice(choice);
  event.mutable_finish()->set_reason(static_cast<uint32_t>(reason));
  Send(std::move(event), false);
}

void ForwardedGeneration::Done(const Status& status, const GenerationUsage& usage) {
  node::v1::GenerateEvent event;
  WriteDone(status, usage, &event);
  Send(std::move(event), true);
}

void ForwardedGeneration::GivenBack() {
  node::v1::GenerateEvent event;
  WriteDone(Status(Code::kUnavailable, "another node is to take it"), {}, &event);
  event.mutable_done()->set_given_back(true);
  Send(std::move(event), true);
}

void ForwardedGeneration::MoveAsked(const MoveOffer& offer) {
  node::v1::GenerateEvent event;
  WriteMove(offer, &event);
  Send(std::move(event), false);
}

void ForwardedGeneration::Send(node::v1::GenerateEvent event, bool last) {
  const node::v1::GenerateEvent* write = nullptr;
  bool finish = false, cancel = false;
  {
    const std::lock_guard lock(mutex_);
    if (last) ended_ = true;
    if (broken_) {
      finish = last && !writing_;
    } else {
      unsent_bytes_ += event.ByteSizeLong();
      cancel = !last && unsent_bytes_ > kMostUnsent;
      unsent_.push_back(std::move(event));
      if (!writing_) {
        writing_ = true;
        write = &unsent_.front();
      }
    }
  }
  // The model calls no more once its Done() came, so what follows is not overtaken by `delete this` but after Finish().
  if (cancel) model_->Cancel(this);
  if (write != nullptr) StartWrite(write);
  if (finish) Finish(grpc::Status::CANCELLED);
}

void ForwardedGeneration::OnWriteDone(bool ok) {
  const node::v1::GenerateEvent* write = nullptr;
  bool finish = false;
  {
    const std::lock_guard lock(mutex_);
    unsent_bytes_ -= unsent_.front().ByteSizeLong();
    unsent_.pop_front();
    if (!ok) {
      broken_ = true;
      unsent_.clear();
    }
    if (unsent_.empty()) {
      writing_ = false;
      finish = ended_;
    } else {
      write = &unsent_.front();
    }
  }
  if (write != nullptr) StartWrite(write);
  if (finish) Finish(ok ? grpc::Status::OK : grpc::Status::CANCELLED);
}

void ForwardedGeneration::OnCancel() {
  if (model_) model_->Cancel(this);
}

}  // namespace evenkeel
