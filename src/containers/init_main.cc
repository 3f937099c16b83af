// evenkeel-init: the first process of a container, for the few microseconds until it becomes the worker.
//
//   evenkeel-init NUMBERS PROGRAM [ARGUMENT...]        NUMBERS: "5,7,9" or "-" for none
//   evenkeel-init --trial                              ends with 0: the worker of a trial, see trial.h
//
// Descriptor 3 is the lifeline, a socket whose other end the daemon has. What comes over it is one byte and the worker's
// descriptors, which get NUMBERS. It comes once runc has exited, and so the daemon has become this process's parent: only then can
// the parent-death signal be set. The lifeline is looked at again afterwards, since a daemon that died in between gives no signal.
// Linked statically and without sanitizers: it starts in a root that holds only the worker's own libraries.
#include <fcntl.h>
#include <poll.h>
#include <sys/prctl.h>
#include <sys/socket.h>
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

// Fills `fds` with what the daemon sent.
void AwaitDaemon(int* fds, int count) {
  char go = 0;
  iovec text{&go, 1};
  alignas(cmsghdr) char room[CMSG_SPACE(kMost * sizeof(int))];
  msghdr message{};
  message.msg_iov = &text;
  message.msg_iovlen = 1;
  message.msg_control = room;
  message.msg_controllen = sizeof room;
  ssize_t got = 0;
  do {
    got = ::recvmsg(kLifeline, &message, 0);
  } while (got < 0 && errno == EINTR);
  if (got != 1) ::_exit(125);  // the daemon is gone
  const cmsghdr* header = CMSG_FIRSTHDR(&message);
  const size_t bytes = static_cast<size_t>(count) * sizeof(int);
  const size_t sent = header == nullptr ? 0 : header->cmsg_len - CMSG_LEN(0);
  if (sent != bytes || (message.msg_flags & MSG_CTRUNC) != 0) {
    errno = EPROTO;
    Fail("the worker's descriptors");
  }
  if (bytes > 0) std::memcpy(fds, CMSG_DATA(header), bytes);
  if (::prctl(PR_SET_PDEATHSIG, SIGKILL) != 0) Fail("parent-death signal");
  pollfd lifeline{kLifeline, POLLIN, 0};
  if (::poll(&lifeline, 1, 0) != 0) ::_exit(125);
  ::close(kLifeline);
}

// Moves fds[i] to numbers[i]. First out of the way, for the two sets may overlap.
void PlaceDescriptors(const int* fds, const int* numbers, int count) {
  int least = 3;
  for (int i = 0; i < count; ++i) least = numbers[i] >= least ? numbers[i] + 1 : least;
  int aside[kMost];
  for (int i = 0; i < count; ++i) {
    aside[i] = ::fcntl(fds[i], F_DUPFD, least);
    if (aside[i] < 0) Fail("moving a descriptor");
    ::close(fds[i]);
  }
  for (int i = 0; i < count; ++i) {
    if (::dup2(aside[i], numbers[i]) < 0) Fail("placing a descriptor");
    ::close(aside[i]);
  }
}

}  // namespace

int main(int argc, char** argv) {
  if (argc == 2 && std::strcmp(argv[1], "--trial") == 0) return 0;
  if (argc < 3) {
    std::fputs("evenkeel-init: started by evenkeel only\n", stderr);
    return 2;
  }
  int numbers[kMost];
  int fds[kMost];
  const int count = ParseNumbers(argv[1], numbers);
  AwaitDaemon(fds, count);
  PlaceDescriptors(fds, numbers, count);
  ::execv(argv[2], argv + 2);
  Fail(argv[2]);
}
