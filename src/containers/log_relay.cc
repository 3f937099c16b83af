#include "containers/log_relay.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/prctl.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <mutex>

#include "core/check.h"
#include "core/log.h"

namespace evenkeel {
namespace {

constexpr size_t kMaxLine = 2000;
constexpr int kLinesPerSecond = 100;

}  // namespace

struct LogRelay::Source {
  int fd = -1;
  std::string name;
  std::string line;  // begun, not ended
  Time second{};     // start of the second that `lines` counts
  int lines = 0;
  int dropped = 0;

  ~Source() { ::close(fd); }
};

struct LogRelay::Shared {
  std::mutex mutex;  // guards added and stopping
  std::vector<std::unique_ptr<Source>> added;
  bool stopping = false;
  int wake = -1;
};

LogRelay::LogRelay()
    : LogRelay(
          [](std::string_view name, std::string_view line) { LogInfo("[{}] {}", name, line); }) {}

LogRelay::LogRelay(Sink sink) : sink_(std::move(sink)), shared_(std::make_unique<Shared>()) {
  shared_->wake = ::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
  EK_CHECK(shared_->wake >= 0);
  thread_ = std::thread([this] { Loop(); });
}

LogRelay::~LogRelay() {
  {
    const std::lock_guard lock(shared_->mutex);
    shared_->stopping = true;
  }
  ::eventfd_write(shared_->wake, 1);
  thread_.join();
  ::close(shared_->wake);
}

void LogRelay::Add(int fd, std::string name) {
  // Only this end: the flag belongs to the pipe's end, and the worker's writes must block.
  ::fcntl(fd, F_SETFL, ::fcntl(fd, F_GETFL) | O_NONBLOCK);
  auto source = std::make_unique<Source>();
  source->fd = fd;
  source->name = std::move(name);
  {
    const std::lock_guard lock(shared_->mutex);
    shared_->added.push_back(std::move(source));
  }
  ::eventfd_write(shared_->wake, 1);
}

void LogRelay::Loop() {
  ::prctl(PR_SET_NAME, "ek-worker-logs");
  for (bool stopping = false; !stopping;) {
    std::vector<pollfd> fds = {{shared_->wake, POLLIN, 0}};
    for (const auto& source : sources_) fds.push_back({source->fd, POLLIN, 0});
    if (::poll(fds.data(), fds.size(), -1) < 0 && errno != EINTR) return;
    eventfd_t ignored = 0;
    static_cast<void>(::eventfd_read(shared_->wake, &ignored));
    {
      const std::lock_guard lock(shared_->mutex);
      stopping = shared_->stopping;
      for (auto& source : shared_->added) sources_.push_back(std::move(source));
      shared_->added.clear();
    }
    // Sources are read whether poll named them or not: reads do not block, and the list may just have grown.
    std::erase_if(sources_, [this](auto& source) { return !ReadFrom(*source); });
  }
}

bool LogRelay::ReadFrom(Source& source) {
  std::array<char, 4096> buffer;
  // Bounded, so that one flooding worker does not keep the others from being read.
  for (int i = 0; i < 16; ++i) {
    const ssize_t got = ::read(source.fd, buffer.data(), buffer.size());
    if (got < 0 && errno == EINTR) continue;
    if (got < 0 && errno == EAGAIN) return true;
    if (got <= 0) {
      if (!source.line.empty()) Emit(source, source.line);
      if (source.dropped > 0) {
        sink_(source.name, std::to_string(source.dropped) + " more lines were dropped");
      }
      return false;
    }
    for (const char c : std::string_view(buffer.data(), static_cast<size_t>(got))) {
      if (c == '\n' || source.line.size() >= kMaxLine) {
        Emit(source, source.line);
        source.line.clear();
      }
      if (c != '\n') source.line += c == '\t' || (c >= 0x20 && c < 0x7f) ? c : '?';
    }
  }
  return true;
}

void LogRelay::Emit(Source& source, std::string_view line) {
  const Time now = SteadyClock::Instance().Now();
  if (now - source.second >= std::chrono::seconds(1)) {
    if (source.dropped > 0) {
      sink_(source.name, std::to_string(source.dropped) + " more lines were dropped");
    }
    source.second = now;
    source.lines = source.dropped = 0;
  }
  if (source.lines++ < kLinesPerSecond) {
    sink_(source.name, line);
  } else {
    ++source.dropped;
  }
}

}  // namespace evenkeel
