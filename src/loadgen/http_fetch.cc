#include "loadgen/http_fetch.h"

#include <poll.h>
#include <sys/socket.h>

#include <cerrno>
#include <cstring>
#include <vector>

#include "core/format.h"
#include "loadgen/http_response.h"
#include "net/tls_context.h"

namespace evenkeel::loadgen {
namespace {

// Waits for `events` on a socket; false once `deadline` passed.
bool WaitFor(int fd, short events, Time deadline) {
  const Duration left = deadline - SteadyClock::Instance().Now();
  pollfd p{fd, events, 0};
  return left > Duration::zero() &&
         poll(&p, 1, static_cast<int>(left / std::chrono::milliseconds(1)) + 1) > 0;
}

Status SendAll(int fd, TlsSession* tls, std::string_view bytes, Time deadline) {
  while (!bytes.empty()) {
    const ssize_t n = Send(fd, tls, bytes);
    if (n > 0) {
      bytes.remove_prefix(static_cast<size_t>(n));
    } else if (errno == EINTR) {
      continue;
    } else if (errno != EAGAIN) {
      return Unavailable("send: {}", std::strerror(errno));
    } else if (!WaitFor(fd, POLLOUT, deadline)) {
      return DeadlineExceeded("the server does not read the request");
    }
  }
  return Status::Ok();
}

}  // namespace

Result<HttpAnswer> Exchange(const Url& url, std::string_view request, Duration timeout) {
  const Time deadline = SteadyClock::Instance().Now() + timeout;
  Result<Endpoint> endpoint = Resolve(url);
  if (!endpoint.ok()) return endpoint.status();
  Result<Socket> socket = StartConnect(*endpoint);
  if (!socket.ok()) return socket.status().Annotate(url.Authority());
  EK_RETURN_IF_ERROR(FinishConnect(socket->fd(), timeout).Annotate(url.Authority()));
  std::unique_ptr<TlsSession> tls;
  if (url.tls()) {
    const Result<openssl::Context> context = MakeTlsClientContext(url.ca_file);
    if (!context.ok()) return context.status();
    Result<std::unique_ptr<TlsSession>> agreed = FinishTls(*context, url, socket->fd(), timeout);
    if (!agreed.ok()) return agreed.status().Annotate(url.Authority());
    tls = std::move(*agreed);
  }
  EK_RETURN_IF_ERROR(SendAll(socket->fd(), tls.get(), request, deadline).Annotate(url.Authority()));
  HttpResponseReader reader(/*keep_body=*/true);
  std::vector<char> buffer(64 << 10);
  auto progress = HttpResponseReader::Progress::kMore;
  while (progress == HttpResponseReader::Progress::kMore) {
    const ssize_t n = Receive(socket->fd(), tls.get(), buffer.data(), buffer.size());
    if (n > 0) {
      std::string_view bytes(buffer.data(), static_cast<size_t>(n));
      progress = reader.Feed(&bytes);
    } else if (n == 0) {
      if (reader.Ended() != HttpResponseReader::Progress::kDone)
        return Unavailable("{}: closed before the answer was complete", url.Authority());
      break;
    } else if (errno == EINTR) {
      continue;
    } else if (errno != EAGAIN) {
      return Unavailable("{}: {}", url.Authority(), std::strerror(errno));
    } else if (!WaitFor(socket->fd(), POLLIN, deadline)) {
      return DeadlineExceeded("{}: no answer within {} s", url.Authority(), Seconds(timeout));
    }
  }
  if (progress == HttpResponseReader::Progress::kMalformed)
    return Internal("{}: the answer is not HTTP/1.1", url.Authority());
  return HttpAnswer{reader.status(), reader.body(), reader.json_length()};
}

}  // namespace evenkeel::loadgen
