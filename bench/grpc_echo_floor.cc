// The floor under the gRPC front end: a bare grpc++ callback server that answers ModelInfer with
// the request's own bytes.
//
// Use for: `make bench-serve`, beside the daemon, under the same load generator. The echoed request
// parses as a response (fields 1 to 5 have the same meaning), so any client of ModelInfer can drive
// it. Prints "listening on PORT" at start and one JSON line of its own CPU time at SIGTERM or
// SIGINT.
#include <grpcpp/grpcpp.h>
#include <sys/resource.h>

#include <atomic>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <string_view>

#include "proto/grpc_service.grpc.pb.h"

namespace {

std::atomic<uint64_t> requests{0};

class Echo final : public inference::GRPCInferenceService::WithRawCallbackMethod_ModelInfer<
                       inference::GRPCInferenceService::Service> {
 public:
  grpc::ServerUnaryReactor* ModelInfer(grpc::CallbackServerContext* context,
                                       const grpc::ByteBuffer* request,
                                       grpc::ByteBuffer* response) override {
    *response = *request;  // slices are counted, not copied
    requests.fetch_add(1, std::memory_order_relaxed);
    grpc::ServerUnaryReactor* reactor = context->DefaultReactor();
    reactor->Finish(grpc::Status::OK);
    return reactor;
  }
};

double Seconds(const timeval& t) {
  return static_cast<double>(t.tv_sec) + static_cast<double>(t.tv_usec) * 1e-6;
}

}  // namespace

int main(int argc, char** argv) {
  int port = 0;
  for (int i = 1; i < argc; ++i) {
    if (std::string_view(argv[i]) == "--port" && i + 1 < argc) {
      port = std::atoi(argv[++i]);
    } else {
      std::fprintf(stderr, "usage: grpc_echo_floor [--port PORT]\n");
      return 2;
    }
  }
  // Blocked before any thread starts, so that only sigwait below sees them.
  sigset_t stop;
  sigemptyset(&stop);
  sigaddset(&stop, SIGTERM);
  sigaddset(&stop, SIGINT);
  pthread_sigmask(SIG_BLOCK, &stop, nullptr);

  Echo echo;
  grpc::ServerBuilder builder;
  builder.AddListeningPort("127.0.0.1:" + std::to_string(port), grpc::InsecureServerCredentials(),
                           &port);
  builder.RegisterService(&echo);
  const std::unique_ptr<grpc::Server> server = builder.BuildAndStart();
  if (server == nullptr) {
    std::fprintf(stderr, "cannot listen on 127.0.0.1:%d\n", port);
    return 1;
  }
  std::printf("listening on %d\n", port);
  std::fflush(stdout);

  int signal = 0;
  sigwait(&stop, &signal);
  rusage usage{};
  getrusage(RUSAGE_SELF, &usage);
  const uint64_t count = requests.load();
  const double user = Seconds(usage.ru_utime), sys = Seconds(usage.ru_stime);
  const double per_request = count == 0 ? 0 : (user + sys) / static_cast<double>(count) * 1e6;
  std::printf(R"({"requests": %llu, "user_s": %.6f, "sys_s": %.6f, "cpu_us_per_request": %.3f})"
              "\n",
              static_cast<unsigned long long>(count), user, sys, per_request);
  std::fflush(stdout);
  server->Shutdown(std::chrono::system_clock::now());
  return 0;
}
