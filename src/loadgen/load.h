// What a run sends and what its drivers share. A driver is one thread's event loop over one
// protocol.
//
// Contract: a driver sends what its Pacer asks for and counts each request once in its Tally, also
//   when the run is interrupted. It measures time on `start`'s axis.
// Thread-safety: LoadPlan is read-only while drivers run; `interrupted` and Progress are atomics.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "core/clock.h"
#include "core/status.h"
#include "core/tensor.h"
#include "loadgen/pacer.h"
#include "loadgen/socket.h"
#include "loadgen/tally.h"

namespace evenkeel::loadgen {

// One input of one model, ready to be sent again and again.
struct PreparedRequest {
  std::string bytes;  // HTTP: head and body; gRPC: the message
  int rows = 1;
  std::string reference;  // its right answer (HTTP body, gRPC message); empty: not checked
  // Where the raw output tensors begin in it; SIZE_MAX: nowhere (JSON).
  size_t floats_from = SIZE_MAX;
};

struct PreparedModel {
  std::string name;
  double weight = 1;
  std::vector<PreparedRequest> requests;  // at least one
  bool float_outputs = false;  // all outputs are FP32: answers may differ by the tolerance
  Objectives objectives{};
};

enum class WireProtocol : uint8_t { kHttp, kGrpc };

struct LoadPlan {
  WireProtocol protocol = WireProtocol::kHttp;
  Url url;
  Endpoint endpoint;     // HTTP
  openssl::Context tls;  // HTTP: what connections speak TLS with; null: they are plain
  std::string grpc_method = "/inference.GRPCInferenceService/ModelInfer";
  std::string
      bearer;  // credential of what is asked before the run, and of gRPC calls; HTTP requests have it rendered
  int grpc_connections = 1;  // a thread
  std::vector<PreparedModel> models;
  std::vector<Stage> stages;
  int threads = 1;
  int cap = 4096;  // requests in flight in an open loop, all threads together
  uint64_t seed = 1;
  Duration timeout = std::chrono::seconds(10);
  Duration window{};  // of the timeline; 0: none
  bool check_answers = false;
  double tolerance = 1e-4;
  bool streamed = false;  // HTTP: answers are streams of tokens (token_stream.h)
};

// For the line that a terminal shows while a run goes on. Relaxed atomics: the figures are for
// people.
struct Progress {
  std::atomic<uint64_t> answered{0};
  std::atomic<uint64_t> failed{0};
};

struct DriverContext {
  const LoadPlan& plan;
  Part part;
  Time start;
  const std::atomic<bool>& interrupted;
  Progress& progress;
};

// What one driver hands back.
struct DriverResult {
  Tally tally;
  std::vector<uint64_t> held_back, not_sent;  // by stage
  std::vector<Duration> started, ended;       // by stage
  double user_cpu_s = 0, system_cpu_s = 0;
  int most_in_flight = 0;
};

// A driver: Prepare() opens connections before the clock starts, Run() blocks until everything is
// sent and answered.
class Driver {
 public:
  virtual ~Driver() = default;
  virtual Status Prepare() = 0;
  virtual DriverResult Run(DriverContext context) = 0;
};

std::unique_ptr<Driver> MakeHttpDriver(const LoadPlan& plan, Part part);
std::unique_ptr<Driver> MakeGrpcDriver(const LoadPlan& plan, Part part);

// The objectives of the plan's models, in their order.
std::vector<Objectives> ObjectivesOf(const LoadPlan& plan);

// True when `answer` is right for `request` (see answer_check.h).
bool AnswerIsRight(const LoadPlan& plan, const PreparedModel& model, const PreparedRequest& request,
                   std::string_view answer);

}  // namespace evenkeel::loadgen
