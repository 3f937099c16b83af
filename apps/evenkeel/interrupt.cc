#include "interrupt.h"

namespace evenkeel {
namespace {

volatile std::sig_atomic_t signal_came = 0;

void Note(int) { signal_came = 1; }

}  // namespace

Interrupt::Interrupt() {
  signal_came = 0;
  struct sigaction action {};
  action.sa_handler = Note;  // without SA_RESTART: a read() that waits returns
  ::sigemptyset(&action.sa_mask);
  ::sigaction(SIGINT, &action, &before_int_);
  ::sigaction(SIGTERM, &action, &before_term_);
}

Interrupt::~Interrupt() {
  ::sigaction(SIGINT, &before_int_, nullptr);
  ::sigaction(SIGTERM, &before_term_, nullptr);
}

bool Interrupt::came() const { return signal_came != 0; }

void Interrupt::Forget() { signal_came = 0; }

}  // namespace evenkeel
