#include "frontends/grpc_queue.h"

#include <grpcpp/impl/rpc_service_method.h>

namespace evenkeel {

void CallQueue::Start() {
  thread_ = std::thread([this] {
    void* tag = nullptr;
    bool ok = false;
    while (queue_->Next(&tag, &ok)) static_cast<CallEvent*>(tag)->Happened(ok);
  });
}

void CallQueue::Stop() {
  if (!thread_.joinable()) return;
  {
    // A queue that is shut down takes no operations any more, and calls that are still in the service will want to answer.
    std::unique_lock lock(mutex_);
    left_.wait(lock, [this] { return calls_ == 0; });
  }
  queue_->Shutdown();
  thread_.join();
}

void CallQueue::Abandon() {
  queue_->Shutdown();
  void* tag = nullptr;
  bool ok = false;
  while (queue_->Next(&tag, &ok)) {
  }
}

void CallQueue::Enter() {
  const std::lock_guard lock(mutex_);
  ++calls_;
}

void CallQueue::Leave() {
  const std::lock_guard lock(mutex_);
  if (--calls_ == 0) left_.notify_all();
}

InferMethod::InferMethod() {
  AddMethod(new grpc::internal::RpcServiceMethod("/inference.GRPCInferenceService/ModelInfer",
                                                 grpc::internal::RpcMethod::NORMAL_RPC, nullptr));
  MarkMethodRaw(0);
}

void ByteStream::Accept(GrpcFront& front, CallQueue& queue) {
  auto* const stream = new ByteStream(front, queue);
  stream->context_.AsyncNotifyWhenDone(stream->gone_.tag());
  front.generic.RequestCall(&stream->context_, &stream->stream_, queue.get(), queue.get(),
                            stream->arrived_.tag());
}

void ByteStream::Arrived(bool ok) {
  if (!ok) {  // the server shuts down; no other event will come
    delete this;
    return;
  }
  queue_.Enter();
  Accept(front_, queue_);
  handler_ = OpenCall(*this);
}

void ByteStream::Read(grpc::ByteBuffer* message) {
  events_.fetch_add(1, std::memory_order_relaxed);
  stream_.Read(message, read_.tag());
}

void ByteStream::Write(const grpc::ByteBuffer& message) {
  events_.fetch_add(1, std::memory_order_relaxed);
  stream_.Write(message, written_.tag());
}

void ByteStream::WakeAfter(std::chrono::milliseconds delay) {
  events_.fetch_add(1, std::memory_order_relaxed);
  alarm_.Set(queue_.get(), std::chrono::system_clock::now() + delay, woken_.tag());
}

void ByteStream::Finish(const grpc::Status& status) { stream_.Finish(status, finished_.tag()); }

void ByteStream::WriteAndFinish(const grpc::ByteBuffer& message, const grpc::Status& status) {
  stream_.WriteAndFinish(message, grpc::WriteOptions(), status, finished_.tag());
}

void ByteStream::ReadDone(bool ok) {
  handler_->OnRead(ok);
  Unref();
}

void ByteStream::WriteDone(bool ok) {
  handler_->OnWritten(ok);
  Unref();
}

void ByteStream::Woken(bool) {
  handler_->OnWake();
  Unref();
}

void ByteStream::Gone(bool) {
  if (context_.IsCancelled()) handler_->OnCancel();
  Unref();
}

void ByteStream::Finished(bool) { Unref(); }

void ByteStream::Unref() {
  if (events_.fetch_sub(1, std::memory_order_acq_rel) != 1) return;
  handler_->OnDone();
  CallQueue& queue = queue_;
  delete this;
  queue.Leave();
}

}  // namespace evenkeel
