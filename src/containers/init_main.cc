// evenkeel-init: the first process of a container, for the few microseconds until it becomes the worker.
//
//   evenkeel-init NUMBERS PROGRAM [ARGUMENT...]        NUMBERS: "5,7,9" or "-" for none
//
// Descriptor 3 is the lifeline from the daemon, 4 and up are the worker's and are moved to NUMBERS. It waits for a byte on the
// lifeline: runc must have exited, and so the daemon become this process's parent, before the parent-death signal is set. The
// lifeline is looked at again afterwards, since a daemon that died in between gives no signal.
// Linked statically and without sanitizers: it starts in a root that holds only the worker's own libraries.
#include <fcntl.h>
#include <poll.h>
#include <sys/prctl.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <cstring>

namespace {

constexpr int kLifeline = 3;
constexpr int kMost = 32;

[[noreturn]] void Fail(const char* what) {
  std::fprintf(stderr, "evenkeel-init: %s: %s\n", what, std::strerror(errno));
  ::_exit(126);
}

int ParseNumbers(const char* text, int* numbers) {
  int count = 0;
  for (const char* at = text; *at != '\0' && std::strcmp(text, "-") != 0;) {
    char* end = nullptr;
    const long value = std::strtol(at, &end, 10);
    if (end == at || value < 3 || value > 1'000'000 || count == kMost) {
      errno = EINVAL;
      Fail(text);
    }
    numbers[count++] = static_cast<int>(value);
    at = *end == ',' ? end + 1 : end;
  }
  return count;
}

void AwaitDaemon() {
  char go = 0;
  ssize_t got = 0;
  do {
    got = ::read(kLifeline, &go, 1);
  } while (got < 0 && errno == EINTR);
  if (got != 1) ::_exit(125);  // the daemon is gone
  if (::prctl(PR_SET_PDEATHSIG, SIGKILL) != 0) Fail("parent-death signal");
  pollfd lifeline{kLifeline, POLLIN, 0};
  if (::poll(&lifeline, 1, 0) != 0) ::_exit(125);
}

// Moves descriptor 4 + i to numbers[i]. First out of the way, for the two ranges may overlap.
void PlaceDescriptors(const int* numbers, int count) {
  int least = 3 + kMost;
  for (int i = 0; i < count; ++i) least = numbers[i] >= least ? numbers[i] + 1 : least;
  int aside[kMost];
  for (int i = 0; i < count; ++i) {
    aside[i] = ::fcntl(4 + i, F_DUPFD, least);
    if (aside[i] < 0) Fail("moving a descriptor");
    ::close(4 + i);
  }
  ::close(kLifeline);
  for (int i = 0; i < count; ++i) {
    if (::dup2(aside[i], numbers[i]) < 0) Fail("placing a descriptor");
    ::close(aside[i]);
  }
}

}  // namespace

int main(int argc, char** argv) {
  if (argc < 3) {
    std::fputs("evenkeel-init: started by evenkeel only\n", stderr);
    return 2;
  }
  int numbers[kMost];
  const int count = ParseNumbers(argv[1], numbers);
  AwaitDaemon();
  PlaceDescriptors(numbers, count);
  ::execv(argv[2], argv + 2);
  Fail(argv[2]);
}
