// The server of src/net with the same work as http_echo_floor: what parsing, ordering and bounds
// cost on top of a bare loop.
//
// usage: http_server_echo [PORT [CERTIFICATE KEY]]
// With a pair (PEM files) it speaks TLS.
// Prints its CPU time and requests when it is ended by SIGTERM or SIGINT.
#include <sys/resource.h>

#include <csignal>
#include <cstdio>
#include <cstdlib>

#include "net/http_server.h"
#include "net/io_loop.h"
#include "net/tls_context.h"

namespace {

class Echo final : public evenkeel::HttpHandler {
 public:
  void Handle(evenkeel::HttpExchange& exchange) override {
    evenkeel::HttpResponse response;
    response.content_type = "application/octet-stream";
    response.body.assign(reinterpret_cast<const char*>(exchange.body().data()),
                         exchange.body().size());
    exchange.Respond(std::move(response));
  }
};

double CpuSeconds() {
  rusage u{};
  getrusage(RUSAGE_SELF, &u);
  const auto seconds = [](const timeval& t) {
    return static_cast<double>(t.tv_sec) + static_cast<double>(t.tv_usec) * 1e-6;
  };
  return seconds(u.ru_utime) + seconds(u.ru_stime);
}

}  // namespace

int main(int argc, char** argv) {
  sigset_t signals;
  sigemptyset(&signals);
  sigaddset(&signals, SIGTERM);
  sigaddset(&signals, SIGINT);
  pthread_sigmask(SIG_BLOCK, &signals, nullptr);
  auto loop = evenkeel::IoLoop::Create("echo");
  if (!loop.ok()) return 1;
  (*loop)->Start();
  Echo echo;
  evenkeel::HttpServerOptions options;
  options.port = static_cast<uint16_t>(argc > 1 ? std::atoi(argv[1]) : 0);
  if (argc > 3) {
    auto tls = evenkeel::TlsServerContext::Load({argv[2], argv[3]});
    if (!tls.ok()) {
      std::fprintf(stderr, "%s\n", tls.status().message().c_str());
      return 1;
    }
    options.tls = std::move(*tls);
  }
  auto server = evenkeel::HttpServer::Listen(options, &echo, {loop->get()});
  if (!server.ok()) {
    std::fprintf(stderr, "%s\n", server.status().message().c_str());
    return 1;
  }
  std::printf("listening on port %d\n", (*server)->port());
  std::fflush(stdout);
  int signal = 0;
  sigwait(&signals, &signal);
  const auto requests = static_cast<double>((*server)->stats().requests);
  std::printf("{\"requests\": %.0f, \"cpu_s\": %.3f, \"us_per_request\": %.2f}\n", requests,
              CpuSeconds(), CpuSeconds() * 1e6 / (requests > 0 ? requests : 1));
  return 0;
}
