// The gRPC side of the generator: grpc++'s generic asynchronous stub with ready-made messages.
//
// Messages are never parsed or copied (but to check answers). grpc++ rounds its waits up to
// milliseconds, so in an open loop a small thread sleeps until the next send and wakes the
// completion queue.
// Thread-safety: single-owner; Waker's thread touches only its own members.
#include <grpcpp/alarm.h>
#include <grpcpp/generic/generic_stub.h>
#include <grpcpp/grpcpp.h>
#include <sys/prctl.h>

#include <algorithm>
#include <condition_variable>
#include <deque>
#include <mutex>
#include <optional>
#include <thread>

#include "core/format.h"
#include "loadgen/driver_core.h"
#include "loadgen/grpc_answer.h"
#include "loadgen/grpc_credentials.h"
#include "loadgen/http_response.h"
#include "loadgen/load.h"

namespace evenkeel::loadgen {
namespace {

constexpr Duration kLongestWait = std::chrono::milliseconds(50);  // so that an interrupt is seen

struct Call {
  std::optional<grpc::ClientContext> context;
  std::unique_ptr<grpc::GenericClientAsyncResponseReader> reader;
  grpc::ByteBuffer answer;
  grpc::Status status;
  InFlight request;
};

gpr_timespec In(Duration d) {
  return gpr_time_add(gpr_now(GPR_CLOCK_MONOTONIC), gpr_time_from_nanos(d.count(), GPR_TIMESPAN));
}

// Makes the completion queue return its tag (null) at a time, to the microsecond.
class Waker {
 public:
  explicit Waker(grpc::CompletionQueue* queue) : queue_(queue), thread_([this] { Run(); }) {}
  ~Waker() {
    {
      const std::lock_guard lock(mutex_);
      stopped_ = true;
      changed_.notify_one();
    }
    thread_.join();
  }
  // Wakes at `at` unless a wake-up is under way already; kNever: does not wake.
  void Set(Time at) {
    const std::lock_guard lock(mutex_);
    if (at == at_ || fired_) return;
    at_ = at;
    changed_.notify_one();
  }
  // The tag came out of the queue.
  void Seen() {
    const std::lock_guard lock(mutex_);
    fired_ = false;
    at_ = kNever;
  }
  bool fired() {
    const std::lock_guard lock(mutex_);
    return fired_;
  }

 private:
  void Run() {
    prctl(PR_SET_TIMERSLACK, 1);
    std::unique_lock lock(mutex_);
    while (!stopped_) {
      if (at_ == kNever || fired_) {
        changed_.wait(lock);
      } else if (SteadyClock::Instance().Now() < at_) {
        changed_.wait_until(lock, at_);
      } else {
        fired_ = true;
        alarm_.emplace();
        alarm_->Set(queue_, gpr_now(GPR_CLOCK_MONOTONIC), nullptr);
      }
    }
  }

  grpc::CompletionQueue* queue_;
  std::mutex mutex_;
  std::condition_variable changed_;
  Time at_ = kNever;  // guarded by mutex_, like all below
  bool fired_ = false;
  bool stopped_ = false;
  std::optional<grpc::Alarm> alarm_;
  std::thread thread_;  // last: starts when the rest exists
};

// grpc++ does not say whether a status came from the server or was made up here; its own messages for a lost or
// impossible connection are known, and an expired deadline is ours when the whole timeout has passed.
std::optional<NoAnswer> LocalFailure(const grpc::Status& status, Duration elapsed,
                                     Duration timeout) {
  if (status.error_code() == grpc::StatusCode::DEADLINE_EXCEEDED && elapsed >= timeout)
    return NoAnswer::kTimeout;
  if (status.error_code() != grpc::StatusCode::UNAVAILABLE) return std::nullopt;
  const std::string message = status.error_message();
  for (const char* text :
       {"failed to connect", "Connection refused", "connections to all backends failing"}) {
    if (message.find(text) != std::string::npos) return NoAnswer::kConnect;
  }
  for (const char* text : {"Socket closed", "Connection reset", "Broken pipe", "GOAWAY",
                           "Transport closed", "recvmsg"}) {
    if (message.find(text) != std::string::npos) return NoAnswer::kClosed;
  }
  return std::nullopt;
}

const char* StatusName(grpc::StatusCode code) {
  static constexpr const char* kNames[] = {"OK",
                                           "CANCELLED",
                                           "UNKNOWN",
                                           "INVALID_ARGUMENT",
                                           "DEADLINE_EXCEEDED",
                                           "NOT_FOUND",
                                           "ALREADY_EXISTS",
                                           "PERMISSION_DENIED",
                                           "RESOURCE_EXHAUSTED",
                                           "FAILED_PRECONDITION",
                                           "ABORTED",
                                           "OUT_OF_RANGE",
                                           "UNIMPLEMENTED",
                                           "INTERNAL",
                                           "UNAVAILABLE",
                                           "DATA_LOSS",
                                           "UNAUTHENTICATED"};
  return code >= 0 && code <= 16 ? kNames[code] : "UNKNOWN";
}

class GrpcDriver final : public Driver {
 public:
  explicit GrpcDriver(const LoadPlan& plan) : plan_(plan) {}
  ~GrpcDriver() override;

  Status Prepare() override;
  DriverResult Run(DriverContext context) override;

 private:
  void Fill(Duration now);
  void Start(const InFlight& request);
  void Finish(Call* call);
  void Wait(Duration until);

  const LoadPlan& plan_;
  std::vector<std::unique_ptr<grpc::GenericStub>> stubs_;
  std::vector<std::vector<grpc::ByteBuffer>>
      messages_;  // by model and input; slices point into the plan
  grpc::CompletionQueue queue_;
  std::deque<Call> calls_;
  std::vector<Call*> free_;
  size_t next_stub_ = 0;
  DriverCore* core_ = nullptr;
  std::optional<Waker> waker_;  // open loop only
};

GrpcDriver::~GrpcDriver() {
  waker_.reset();
  queue_.Shutdown();
  void* tag = nullptr;
  bool ok = false;
  while (queue_.Next(&tag, &ok)) {
  }
}

Status GrpcDriver::Prepare() {
  for (int i = 0; i < plan_.grpc_connections; ++i) {
    grpc::ChannelArguments arguments;
    arguments.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL,
                     1);  // else equal channels share a connection
    arguments.SetMaxReceiveMessageSize(-1);
    arguments.SetInt(GRPC_ARG_MAX_RECONNECT_BACKOFF_MS, 200);
    arguments.SetInt(GRPC_ARG_INITIAL_RECONNECT_BACKOFF_MS, 50);
    arguments.SetInt(GRPC_ARG_ENABLE_HTTP_PROXY, 0);
    auto channel =
        grpc::CreateCustomChannel(plan_.url.Authority(), CredentialsFor(plan_.url), arguments);
    if (!channel->WaitForConnected(
            In(std::min<Duration>(plan_.timeout, std::chrono::seconds(10))))) {
      return Unavailable("{}: no gRPC connection", plan_.url.Authority());
    }
    stubs_.push_back(std::make_unique<grpc::GenericStub>(channel));
  }
  for (const PreparedModel& model : plan_.models) {
    std::vector<grpc::ByteBuffer>& messages = messages_.emplace_back();
    for (const PreparedRequest& request : model.requests) {
      const grpc::Slice slice(request.bytes.data(), request.bytes.size(),
                              grpc::Slice::STATIC_SLICE);
      messages.emplace_back(&slice, 1);
    }
  }
  return Status::Ok();
}

void GrpcDriver::Fill(Duration now) {
  while (const std::optional<InFlight> request = core_->Take(now)) Start(*request);
}

void GrpcDriver::Start(const InFlight& request) {
  if (free_.empty()) free_.push_back(&calls_.emplace_back());
  Call* call = free_.back();
  free_.pop_back();
  call->request = request;
  call->context.emplace();
  call->context->set_deadline(In(plan_.timeout));
  if (!plan_.bearer.empty()) call->context->AddMetadata("authorization", "Bearer " + plan_.bearer);
  grpc::GenericStub& stub = *stubs_[next_stub_];
  next_stub_ = next_stub_ + 1 == stubs_.size() ? 0 : next_stub_ + 1;
  const grpc::ByteBuffer& message =
      messages_[static_cast<size_t>(request.model)][static_cast<size_t>(request.input)];
  call->reader = stub.PrepareUnaryCall(&*call->context, plan_.grpc_method, message, &queue_);
  call->reader->StartCall();
  call->reader->Finish(&call->answer, &call->status, call);
}

void GrpcDriver::Finish(Call* call) {
  const Duration now = core_->Now();
  if (call->status.ok()) {
    int64_t compute_ns = -1;
    const auto& trailers = call->context->GetServerTrailingMetadata();
    if (const auto timing = trailers.find("server-timing"); timing != trailers.end()) {
      compute_ns = ServerTimingNs({timing->second.data(), timing->second.size()}, "compute");
    }
    core_->Answered(call->request, now,
                    plan_.check_answers ? OutputBytes(call->answer) : std::string(),
                    Duration(compute_ns));
  } else if (core_->interrupted() && call->status.error_code() == grpc::StatusCode::CANCELLED) {
    core_->Unanswered(call->request, now, NoAnswer::kInterrupted);
  } else if (const auto why = LocalFailure(call->status, now - call->request.sent, plan_.timeout)) {
    core_->Unanswered(call->request, now, *why);
  } else {
    core_->Error(call->request, now, StatusName(call->status.error_code()),
                 call->status.error_message());
  }
  call->reader.reset();
  call->context.reset();
  call->answer.Clear();
  free_.push_back(call);
  Fill(now);
}

void GrpcDriver::Wait(Duration until) {
  const Duration now = core_->Now();
  const Duration left = std::clamp<Duration>(until - now, Duration::zero(), kLongestWait);
  if (waker_) waker_->Set(left < kLongestWait ? SteadyClock::Instance().Now() + left : kNever);
  const bool woken_by_waker = waker_ && left < kLongestWait && left > Duration::zero();
  void* tag = nullptr;
  bool ok = false;
  auto next = queue_.AsyncNext(&tag, &ok, In(woken_by_waker ? kLongestWait : left));
  // Whatever else is ready is handled in the same round.
  for (; next == grpc::CompletionQueue::GOT_EVENT;
       next = queue_.AsyncNext(&tag, &ok, gpr_time_0(GPR_CLOCK_MONOTONIC))) {
    if (tag == nullptr) {
      waker_->Seen();
      Fill(core_->Now());
    } else {
      Finish(static_cast<Call*>(tag));
    }
  }
}

DriverResult GrpcDriver::Run(DriverContext context) {
  DriverCore core(context);
  core_ = &core;
  const bool open = std::any_of(plan_.stages.begin(), plan_.stages.end(),
                                [](const Stage& s) { return s.rate_rps > 0; });
  if (open) waker_.emplace(&queue_);
  bool cancelled = false;
  for (;;) {
    const Duration now = core.Now();
    if (core.interrupted() && !std::exchange(cancelled, true)) {
      core.Stop(now);
      for (Call& call : calls_) {
        if (call.context) call.context->TryCancel();
      }
    }
    Fill(now);
    if (core.Finished()) break;
    Wait(core.NextWake());
  }
  return core.Finish();
}

}  // namespace

std::unique_ptr<Driver> MakeGrpcDriver(const LoadPlan& plan, Part) {
  return std::make_unique<GrpcDriver>(plan);
}

}  // namespace evenkeel::loadgen
