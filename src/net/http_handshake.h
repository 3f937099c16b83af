// TLS handshakes that are under way on one loop: each from accept() until there is a Transport for an HttpConnection. Internal to net/.
//
// Contract: every socket ends in HttpLoop::Secured(), in HttpLoop::RefusePlain() (a client that speaks plain HTTP: it is refused in words that
//   it understands), or closed and reported to HttpLoop::HandshakeLost(), within HttpLimits::request_time. At most HttpLimits::handshakes are
//   under way; a newer one has the oldest closed. Their cryptography takes half a millisecond of a turn, and the rest waits for the next: a
//   flood of new connections must not hold up those that are there.
// Thread-safety: single-owner (its loop).
#pragma once

#include <cstddef>
#include <deque>
#include <vector>

#include "core/clock.h"

namespace evenkeel {

class HttpLoop;

class HttpHandshakes {
 public:
  explicit HttpHandshakes(HttpLoop* loop) : loop_(loop) {}
  ~HttpHandshakes();
  HttpHandshakes(const HttpHandshakes&) = delete;
  HttpHandshakes& operator=(const HttpHandshakes&) = delete;

  void Open(int fd);  // a connected socket, owned from here on
  void CheckTime(Time now);
  void CloseAll();
  void EndOfTurn();
  bool empty() const { return all_.empty(); }

 private:
  class One;
  void Take(One* one);
  void Step(One* one);
  void StepLater();
  void StepSome();
  void Drop(One* one);

  HttpLoop* const loop_;
  std::deque<One*> all_;    // the oldest first
  std::deque<One*> ready_;  // of these, those whose step is due
  bool posted_ = false;
  Duration spent_{};  // in this turn
  std::vector<One*> dead_;
};

}  // namespace evenkeel
