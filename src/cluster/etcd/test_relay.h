// A TCP relay on loopback that a test can cut and slow down: the network between one node and etcd.
//
// Contract: Cut() holds back every byte, both ways, of old and new connections, as a network that drops packets does; Heal() lets them through. SlowAnswers() delays
//   what comes from the server. Threads: one of its own. Thread-safety: thread-safe.
#pragma once

#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <chrono>
#include <deque>
#include <list>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "core/check.h"
#include "core/clock.h"

namespace evenkeel {

// A socket bound to a free port of loopback.
inline int BoundSocket(int* port) {
  const int fd = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t size = sizeof address;
  EK_CHECK(fd >= 0 && ::bind(fd, reinterpret_cast<sockaddr*>(&address), size) == 0);
  EK_CHECK(::getsockname(fd, reinterpret_cast<sockaddr*>(&address), &size) == 0);
  *port = ntohs(address.sin_port);
  return fd;
}

class TestRelay {
 public:
  explicit TestRelay(int to_port) : to_port_(to_port), listener_(BoundSocket(&port_)) {
    EK_CHECK(::listen(listener_, 64) == 0);
    thread_ = std::thread([this] { Run(); });
  }
  ~TestRelay() {
    stop_ = true;
    thread_.join();
    for (const Pair& pair : pairs_) Close(pair);
    ::close(listener_);
  }

  std::string endpoint() const { return "127.0.0.1:" + std::to_string(port_); }
  void Cut() { cut_ = true; }
  void Heal() { cut_ = false; }
  void SlowAnswers(Duration by) { slow_ = by; }

 private:
  // Bytes that wait for their time, one way.
  struct Way {
    std::deque<std::pair<Time, std::string>> waiting;
    bool ended = false;  // its source is at its end
  };
  struct Pair {
    int client = -1, server = -1;
    Way there, back;
    bool broken = false;
  };

  static void Close(const Pair& pair) {
    ::close(pair.client);
    ::close(pair.server);
  }

  void Run() {
    while (!stop_) {
      // Short waits instead of a precise wake-up: nothing here is measured.
      std::vector<pollfd> fds = {{listener_, POLLIN, 0}};
      if (!cut_) {
        for (const Pair& pair : pairs_) {
          fds.push_back({pair.client, POLLIN, 0});
          fds.push_back({pair.server, POLLIN, 0});
        }
      }
      ::poll(fds.data(), fds.size(), 2);
      Accept();
      if (cut_) continue;
      for (Pair& pair : pairs_) {
        Read(pair.client, &pair.there, Duration{}, &pair.broken);
        Read(pair.server, &pair.back, slow_.load(), &pair.broken);
        Write(pair.server, &pair.there, &pair.broken);
        Write(pair.client, &pair.back, &pair.broken);
      }
      pairs_.remove_if([](const Pair& pair) {
        if (!pair.broken) return false;
        Close(pair);
        return true;
      });
    }
  }

  void Accept() {
    const int client = ::accept4(listener_, nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK);
    if (client < 0) return;
    const int server = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_port = htons(static_cast<uint16_t>(to_port_));
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    if (::connect(server, reinterpret_cast<sockaddr*>(&address), sizeof address) != 0) {
      ::close(server);
      ::close(client);
      return;
    }
    const int one = 1;
    for (const int fd : {client, server}) {
      ::setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
      ::fcntl(fd, F_SETFL, ::fcntl(fd, F_GETFL) | O_NONBLOCK);
    }
    pairs_.push_back({client, server, {}, {}, false});
  }

  static void Read(int fd, Way* way, Duration delay, bool* broken) {
    char buffer[16384];
    while (!way->ended) {
      const ssize_t got = ::recv(fd, buffer, sizeof buffer, 0);
      if (got < 0 && (errno == EAGAIN || errno == EINTR)) return;
      if (got < 0) *broken = true;
      if (got <= 0) {
        way->ended = true;
        return;
      }
      way->waiting.emplace_back(SteadyClock::Instance().Now() + delay,
                                std::string(buffer, static_cast<size_t>(got)));
    }
  }

  static void Write(int fd, Way* way, bool* broken) {
    while (!way->waiting.empty() && way->waiting.front().first <= SteadyClock::Instance().Now()) {
      std::string& bytes = way->waiting.front().second;
      const ssize_t put = ::send(fd, bytes.data(), bytes.size(), MSG_NOSIGNAL);
      if (put < 0 && (errno == EAGAIN || errno == EINTR)) return;
      if (put < 0) {
        *broken = true;
        return;
      }
      bytes.erase(0, static_cast<size_t>(put));
      if (!bytes.empty()) return;
      way->waiting.pop_front();
    }
    if (way->ended && way->waiting.empty()) *broken = true;  // gRPC closes both ways at once
  }

  const int to_port_;
  int port_ = 0;
  const int listener_;
  std::atomic<bool> stop_{false}, cut_{false};
  std::atomic<Duration> slow_{};
  std::list<Pair> pairs_;  // the thread's
  std::thread thread_;
};

}  // namespace evenkeel
