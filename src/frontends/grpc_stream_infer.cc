#include "frontends/grpc_stream_infer.h"

#include <algorithm>
#include <atomic>
#include <deque>
#include <map>
#include <utility>

#include "core/format.h"
#include "frontends/client_gone.h"
#include "frontends/grpc_glue.h"
#include "frontends/grpc_queue.h"
#include "frontends/guarded_service.h"
#include "frontends/routes.h"

namespace evenkeel {
namespace {

class StreamCall;

// One request of a stream. Owned by its stream while in flight, and by whoever is calling Infer() or Cancel() with it. Keeps its
// stream, so that whoever answers it may still touch the stream afterwards.
class StreamItem final : public InferCall {
 public:
  explicit StreamItem(std::shared_ptr<StreamCall> stream) : stream_(std::move(stream)) {}

  // Reads the message; an error is to be answered with Refuse().
  Status Begin(const GrpcFront& front, const CallerAccess& stream_access,
               const grpc::ByteBuffer& message, Time stream_deadline) {
    bytes = message.Length();
    arrived = SteadyClock::Instance().Now();
    deadline = stream_deadline;
    // The key that the stream was opened with may be revoked or expired by now.
    const GuardedService service(front.service, front.authorizer.Renew(stream_access));
    EK_RETURN_IF_ERROR(CheckNeed(Need::kModelInside, service.access()));
    EK_RETURN_IF_ERROR(
        request_.Hold(message, front.max_message_bytes).Annotate("inference request"));
    return exchange_.Begin(service, request_.views(), this);
  }
  // What a compressed message takes beyond what was sent.
  size_t unfolded_bytes() const { return std::max(request_.bytes(), bytes) - bytes; }
  void Infer() { exchange_.model().Infer(this); }
  void Cancel() {
    if (done_.load(std::memory_order_relaxed)) return;
    LogClientGone(exchange_.model().name(), "gRPC (stream)");
    exchange_.model().Cancel(this);
  }
  void Done(const Status& status, std::span<const TensorView> outputs,
            const Timings& timings) override;
  void Refuse(const Status& status);

  size_t bytes = 0;      // that the stream holds for it
  bool started = false;  // Infer() has returned; guarded by the stream's mutex

 private:
  const std::shared_ptr<StreamCall> stream_;
  RequestSlices request_;
  GrpcExchange exchange_;
  std::atomic<bool> done_{false};  // saves pointless Cancel()s
};

// Freed when gRPC is done with it (OnDone) and nobody answers or drains it any more. gRPC's operations are started outside the mutex.
class StreamCall final : public StreamHandler, public Drainable {
 public:
  StreamCall(ByteStream& stream, CallerAccess access)
      : stream_(stream),
        access_(std::move(access)),
        deadline_(DeadlineOf(stream.context(), SteadyClock::Instance().Now())) {
    EchoRequestId(stream.context());
  }

  void Start(std::shared_ptr<StreamCall> self) {
    self_ = std::move(self);
    Proceed();
  }

  void OnRead(bool ok) override {
    if (!ok) {
      {
        const std::lock_guard lock(mutex_);
        reading_ = false;
        read_all_ = true;
      }
      return Proceed();
    }
    grpc::ByteBuffer message;
    message.Swap(&incoming_);
    const auto item = std::make_shared<StreamItem>(self_);
    {
      const std::lock_guard lock(mutex_);
      reading_ = false;
      in_flight_.emplace(item.get(), item);
      held_bytes_ += message.Length();
    }
    if (const Status status = item->Begin(stream_.front(), access_, message, deadline_);
        !status.ok())
      return item->Refuse(status);
    {
      const std::lock_guard lock(mutex_);
      const size_t more = item->unfolded_bytes();
      held_bytes_ += more;
      item->bytes += more;
    }
    item->Infer();
    bool cancelled = false;
    {
      const std::lock_guard lock(mutex_);
      item->started = true;
      cancelled = cancelled_;
    }
    if (cancelled) item->Cancel();
    Proceed();
  }

  // Takes `reply` for `item`, which may be freed when this returns.
  void Answer(StreamItem* item, grpc::ByteBuffer reply) {
    std::shared_ptr<StreamItem> last;  // frees it outside the lock
    {
      const std::lock_guard lock(mutex_);
      const auto found = in_flight_.find(item);
      last = std::move(found->second);
      in_flight_.erase(found);
      held_bytes_ -= item->bytes;
      if (!cancelled_) {
        held_bytes_ += reply.Length();
        replies_.push_back(std::move(reply));
      }
    }
    Proceed();
  }

  void OnWritten(bool ok) override {
    {
      const std::lock_guard lock(mutex_);
      writing_ = false;
      held_bytes_ -= replies_.front().Length();
      replies_.pop_front();
      if (!ok) DropReplies();
    }
    Proceed();
  }

  void OnCancel() override {
    std::vector<std::shared_ptr<StreamItem>> started;
    {
      const std::lock_guard lock(mutex_);
      cancelled_ = true;
      if (!writing_) DropReplies();
      for (const auto& [item, owner] : in_flight_) {
        if (item->started) started.push_back(owner);
      }
    }
    for (const auto& item : started) item->Cancel();
    Proceed();
  }

  void Drain() override {
    {
      const std::lock_guard lock(mutex_);
      draining_ = true;
    }
    Proceed();
  }

  void OnDone() override { self_.reset(); }

 private:
  // Starts what can be started now: a write, a read, the end. The one place that does. The caller keeps *this: by
  // being an event of the call, or by a shared_ptr.
  void Proceed() {
    const grpc::ByteBuffer* write = nullptr;
    bool read = false, finish = false, drained = false;
    {
      const std::lock_guard lock(mutex_);
      if (finished_) return;
      if (!writing_ && !replies_.empty()) {
        writing_ = true;
        write = &replies_.front();
      }
      const bool idle = in_flight_.empty() && replies_.empty();
      drained = draining_ && !read_all_;
      finish = finished_ = idle && !reading_ && read_all_;
      // A drained stream ends under its pending read, but not while that is just being started.
      if (idle && drained && starting_reads_ == 0) finish = finished_ = true;
      read = !finish && !reading_ && !read_all_ && !draining_ &&
             in_flight_.size() + replies_.size() < kMaxStreamRequests &&
             held_bytes_ < kMaxStreamBytes;
      reading_ = reading_ || read;
      starting_reads_ += read ? 1 : 0;
    }
    if (write != nullptr) stream_.Write(*write);
    if (read) {
      stream_.Read(&incoming_);
      bool again = false;
      {
        const std::lock_guard lock(mutex_);
        --starting_reads_;
        again = draining_;
      }
      if (again) return Proceed();
    }
    if (finish)
      stream_.Finish(drained ? ToGrpc(Unavailable("the server is shutting down"))
                             : grpc::Status::OK);
  }

  // REQUIRES: mutex_ held. Keeps the one being written.
  void DropReplies() {
    while (replies_.size() > (writing_ ? 1U : 0U)) {
      held_bytes_ -= replies_.back().Length();
      replies_.pop_back();
    }
  }

  ByteStream& stream_;
  const CallerAccess access_;
  const Time deadline_;
  std::shared_ptr<StreamCall> self_;  // gRPC's share, until OnDone()
  grpc::ByteBuffer incoming_;         // owned by the read while reading_

  std::mutex mutex_;  // guards all below
  std::map<StreamItem*, std::shared_ptr<StreamItem>> in_flight_;
  std::deque<grpc::ByteBuffer> replies_;  // the front one is being sent while writing_
  size_t held_bytes_ = 0;
  bool reading_ = false, writing_ = false;
  int starting_reads_ = 0;  // threads between their decision to read and the end of Read()
  bool read_all_ = false;   // the client has closed its side, or is gone
  bool cancelled_ = false;  // it is gone
  bool draining_ = false;
  bool finished_ = false;
};

void StreamItem::Done(const Status& status, std::span<const TensorView> outputs, const Timings&) {
  done_.store(true, std::memory_order_relaxed);
  if (!status.ok()) return Refuse(status);
  const auto size = exchange_.Prepare(outputs, /*in_stream=*/true);
  if (!size.ok()) return Refuse(size.status());
  stream_->Answer(this, WriteMessage(exchange_, *size));
}

void StreamItem::Refuse(const Status& status) {
  const grpc::Slice slice(WriteStreamError(exchange_.id(), ErrorText(status)));
  stream_->Answer(this, grpc::ByteBuffer(&slice, 1));
}

}  // namespace

void OpenStreams::Add(const std::shared_ptr<Drainable>& stream) {
  bool drain = false;
  {
    const std::lock_guard lock(mutex_);
    if (streams_.size() >= sweep_at_) {
      std::erase_if(streams_, [](const std::weak_ptr<Drainable>& s) { return s.expired(); });
      sweep_at_ = std::max<size_t>(64, 2 * streams_.size());
    }
    streams_.push_back(stream);
    drain = draining_;
  }
  if (drain) stream->Drain();
}

void OpenStreams::Drain() {
  std::vector<std::weak_ptr<Drainable>> streams;
  {
    const std::lock_guard lock(mutex_);
    draining_ = true;
    streams = streams_;
  }
  for (const auto& weak : streams) {
    if (const auto stream = weak.lock()) stream->Drain();
  }
}

bool OpenStreams::draining() const {
  const std::lock_guard lock(mutex_);
  return draining_;
}

StreamHandler* OpenModelStreamInfer(ByteStream& stream, CallerAccess access) {
  const auto call = std::make_shared<StreamCall>(stream, std::move(access));
  call->Start(call);
  stream.front().streams.Add(call);
  return call.get();
}

}  // namespace evenkeel
