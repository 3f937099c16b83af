// Ctrl-C as something to look at, for verbs that have more to do than to end.
//
// Thread-safety: main thread only, one at a time.
#pragma once

#include <csignal>

namespace evenkeel {

inline constexpr int kExitInterrupted = 130;  // as shells report SIGINT

// While it lives, SIGINT and SIGTERM set a flag and interrupt what blocks; before and after they do what they did.
class Interrupt {
 public:
  Interrupt();
  ~Interrupt();
  Interrupt(const Interrupt&) = delete;
  Interrupt& operator=(const Interrupt&) = delete;

  bool came() const;
  void Forget();

 private:
  struct sigaction before_int_ {
  }, before_term_{};
};

}  // namespace evenkeel
