// gRPC's side of the front end: completion queues, each driven by one thread of ours, and the calls on them. Included by grpc_*.cc and
// kserve_grpc.cc only; with grpc_glue.h the only headers that include grpc++.
//
// Why not the callback API: its pollers (two at least) take turns, which costs two context switches a request. One thread that owns
// its queue answers an echo for three quarters of the CPU time (README.md, "What a gRPC request costs").
// Contract: every event of a call happens on its queue's one thread, in order; a call is freed there, after its last event.
// Thread-safety: as said at each class.
#pragma once

#include <grpcpp/alarm.h>
#include <grpcpp/completion_queue.h>
#include <grpcpp/generic/async_generic_service.h>
#include <grpcpp/impl/service_type.h>
#include <grpcpp/server_builder.h>
#include <grpcpp/support/byte_buffer.h>

#include <atomic>
#include <condition_variable>
#include <memory>
#include <mutex>
#include <string>
#include <thread>

#include "access/caller_access.h"
#include "core/clock.h"
#include "frontends/caller_places.h"

namespace evenkeel {

class Authorizer;
class Service;
class OpenStreams;

// What a completion queue's tags point at.
class CallEvent {
 public:
  virtual void Happened(bool ok) = 0;

 protected:
  ~CallEvent() = default;
};

// An event that is a method of its owner.
template <typename Owner>
class EventOf final : public CallEvent {
 public:
  EventOf(Owner* owner, void (Owner::*method)(bool)) : owner_(owner), method_(method) {}
  void Happened(bool ok) override { (owner_->*method_)(ok); }
  // As gRPC takes it.
  void* tag() { return static_cast<CallEvent*>(this); }

 private:
  Owner* const owner_;
  void (Owner::*const method_)(bool);
};

// A completion queue and its thread. Thread-safe.
class CallQueue {
 public:
  explicit CallQueue(std::unique_ptr<grpc::ServerCompletionQueue> queue)
      : queue_(std::move(queue)) {}
  // Stop()s if it was started.
  ~CallQueue() { Stop(); }

  // REQUIRES: the server that the queue belongs to is running.
  void Start();
  // REQUIRES: the server is shut down. Waits until every call has left, then for the thread. Later calls do nothing.
  void Stop();
  // Instead of Start(), when the server did not come up.
  void Abandon();

  grpc::ServerCompletionQueue* get() { return queue_.get(); }
  // Calls count themselves from their arrival until they are freed.
  void Enter();
  void Leave();

 private:
  const std::unique_ptr<grpc::ServerCompletionQueue> queue_;
  std::thread thread_;
  std::mutex mutex_;
  std::condition_variable left_;
  int calls_ = 0;  // guarded by mutex_
};

// The service with ModelInfer as its one method: registered, so that gRPC reads the request with the call's headers, whoever sends it. So it is only where nobody needs a key. All other
// methods arrive by name, through the generic service, and so does ModelInfer where keys are needed: there its caller is known before anything of it is read.
class InferMethod final : public grpc::Service {
 public:
  InferMethod();
  void Request(grpc::ServerContext* context, grpc::ByteBuffer* request,
               grpc::internal::ServerAsyncStreamingInterface* writer,
               grpc::ServerCompletionQueue* queue, void* tag) {
    RequestAsyncUnary(0, context, request, writer, queue, queue, tag);
  }
};

// What calls need of their server. Outlives them.
struct GrpcFront {
  Service& service;
  const Authorizer& authorizer;
  OpenStreams& streams;
  InferMethod infer;
  grpc::AsyncGenericService generic;
  size_t max_message_bytes = 0;  // as sent, and unfolded
  // Calls that need no key, where others do: whose message is still to come, and for how long that may be.
  CallerPlaces unread{64, 256};
  std::chrono::milliseconds keyless_patience{5000};
  // Health watches that were opened without a key, each of which is looked after ten times a second.
  CallerPlaces watches{64, 1024};
};

// What a ByteStream tells. The methods run on the queue's thread.
class StreamHandler {
 public:
  virtual ~StreamHandler() = default;
  virtual void OnRead(bool ok) = 0;
  virtual void OnWritten(bool ok) = 0;
  virtual void OnWake() {}
  // The client is gone, or the call has ended without our doing.
  virtual void OnCancel() {}
  // After Finish() and every other event; the stream must not be touched afterwards.
  virtual void OnDone() = 0;
};

// One call of any method but the registered ModelInfer: messages in and out, as bytes. At most one read, one write and one wake-up at a time, from any
// thread; Finish() once, with no write under way; a read or wake-up under way then ends.
class ByteStream {
 public:
  // Asks gRPC for the next call, which is opened (OpenCall) when it comes. Owns itself.
  static void Accept(GrpcFront& front, CallQueue& queue);

  grpc::GenericServerContext& context() { return context_; }
  const std::string& method() const { return context_.method(); }
  GrpcFront& front() { return front_; }

  void Read(grpc::ByteBuffer* message);
  void Write(const grpc::ByteBuffer& message);
  void WakeAfter(std::chrono::milliseconds delay);
  void CancelWake() { alarm_.Cancel(); }
  void Finish(const grpc::Status& status);
  void WriteAndFinish(const grpc::ByteBuffer& message, const grpc::Status& status);

 private:
  ByteStream(GrpcFront& front, CallQueue& queue) : front_(front), queue_(queue) {}
  void Arrived(bool ok);
  void ReadDone(bool ok);
  void WriteDone(bool ok);
  void Woken(bool ok);
  void Gone(bool ok);
  void Finished(bool ok);
  void Unref();

  GrpcFront& front_;
  CallQueue& queue_;
  StreamHandler* handler_ = nullptr;
  grpc::GenericServerContext context_;
  grpc::GenericServerAsyncReaderWriter stream_{&context_};
  grpc::Alarm alarm_;
  std::atomic<int> events_{
      2};  // that are still to come; the end of Finish() and that of the call always come
  EventOf<ByteStream> arrived_{this, &ByteStream::Arrived}, read_{this, &ByteStream::ReadDone},
      written_{this, &ByteStream::WriteDone}, woken_{this, &ByteStream::Woken},
      gone_{this, &ByteStream::Gone}, finished_{this, &ByteStream::Finished};
};

// Gives the call that `stream` is to the handler of its method, once its caller may have it (frontends/routes.h); before that nothing is
// read of it.
StreamHandler* OpenCall(ByteStream& stream);

// Asks gRPC for the next call of the registered ModelInfer. Owns itself.
void AcceptModelInfer(GrpcFront& front, CallQueue& queue);
// ModelInfer as it comes through the generic service. `access` may come in.
StreamHandler* OpenModelInfer(ByteStream& stream, CallerAccess access);

}  // namespace evenkeel
