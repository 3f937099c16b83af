#include "profile_png.h"

#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "core/format.h"
#include "core/parse.h"
#include "ipc/unique_fd.h"

extern char** environ;

namespace evenkeel {
namespace {

constexpr std::string_view kProgram = "evenkeel-svg-png";
constexpr std::string_view kPngMagic = "\x89PNG\r\n\x1a\n";
constexpr const char* kInstead = "or name a .html file, which needs no other program";

Status ErrnoStatus(std::string_view what) {
  return Unavailable("{}: {}", what, std::strerror(errno));
}

Result<ipc::UniqueFd> MemoryFile(std::string_view bytes) {
  ipc::UniqueFd file(::memfd_create("evenkeel-picture", MFD_CLOEXEC));
  if (file.get() < 0) return ErrnoStatus("memfd_create");
  while (!bytes.empty()) {
    const ssize_t written = ::write(file.get(), bytes.data(), bytes.size());
    if (written < 0 && errno == EINTR) continue;
    if (written < 0) return ErrnoStatus("write");
    bytes.remove_prefix(static_cast<size_t>(written));
  }
  if (::lseek(file.get(), 0, SEEK_SET) != 0) return ErrnoStatus("lseek");
  return file;
}

Result<std::string> ReadWhole(const ipc::UniqueFd& file) {
  struct stat info {};
  if (::fstat(file.get(), &info) != 0) return ErrnoStatus("fstat");
  std::string bytes(static_cast<size_t>(info.st_size), '\0');
  for (size_t at = 0; at < bytes.size();) {
    const ssize_t n =
        ::pread(file.get(), bytes.data() + at, bytes.size() - at, static_cast<off_t>(at));
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) return ErrnoStatus("read");
    at += static_cast<size_t>(n);
  }
  return bytes;
}

// Its wait status.
Result<int> RunProgram(const std::string& path, const ipc::UniqueFd& in, const ipc::UniqueFd& out,
                       const ipc::UniqueFd& said, Duration limit) {
  posix_spawn_file_actions_t actions;
  ::posix_spawn_file_actions_init(&actions);
  ::posix_spawn_file_actions_adddup2(&actions, in.get(), STDIN_FILENO);
  ::posix_spawn_file_actions_adddup2(&actions, out.get(), STDOUT_FILENO);
  ::posix_spawn_file_actions_adddup2(&actions, said.get(), STDERR_FILENO);
  std::string name = path;
  char* argv[] = {name.data(), nullptr};
  pid_t pid = 0;
  const int error = ::posix_spawn(&pid, path.c_str(), &actions, nullptr, argv, environ);
  ::posix_spawn_file_actions_destroy(&actions);
  if (error != 0) return Unavailable("it does not start: {}", std::strerror(error));
  const ipc::UniqueFd end(static_cast<int>(::syscall(SYS_pidfd_open, pid, 0)));
  const Time deadline = SteadyClock::Instance().Now() + limit;
  bool over = false;
  while (!over && end.get() >= 0) {
    const auto left = std::chrono::duration_cast<std::chrono::milliseconds>(
        deadline - SteadyClock::Instance().Now());
    pollfd poll{end.get(), POLLIN, 0};
    if (left.count() <= 0 || ::poll(&poll, 1, static_cast<int>(left.count()) + 1) > 0) over = true;
    if (left.count() <= 0) ::kill(pid, SIGKILL);
  }
  int status = 0;
  while (::waitpid(pid, &status, 0) < 0 && errno == EINTR) {
  }
  if (WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL &&
      SteadyClock::Instance().Now() >= deadline) {
    return Unavailable("it was not done after {} and was killed", FormatDuration(limit));
  }
  return status;
}

// Why it ended without a picture: its last line, else how it ended.
std::string WhyOf(int status, std::string said) {
  while (!said.empty() && said.back() == '\n') said.pop_back();
  std::string last = said.substr(said.rfind('\n') + 1);
  if (!last.empty()) return last;
  return WIFSIGNALED(status) ? fmt::format("it was ended by signal {}", WTERMSIG(status))
                             : fmt::format("it ended with exit code {}", WEXITSTATUS(status));
}

Result<std::string> Render(const std::string& path, std::string_view svg, Duration limit) {
  auto in = MemoryFile(svg);
  if (!in.ok()) return in.status();
  auto out = MemoryFile({});
  if (!out.ok()) return out.status();
  auto said = MemoryFile({});
  if (!said.ok()) return said.status();
  const auto status = RunProgram(path, *in, *out, *said, limit);
  if (!status.ok()) return status.status();
  auto png = ReadWhole(*out);
  if (!png.ok()) return png;
  if (*status != 0 || !png->starts_with(kPngMagic)) {
    auto text = ReadWhole(*said);
    if (!text.ok()) return text;
    return Unavailable("{}", WhyOf(*status, std::move(*text)));
  }
  return png;
}

}  // namespace

Result<std::string> RenderPng(const std::string& libexec, std::string_view svg, Duration limit) {
  const std::string path = fmt::format("{}/{}", libexec, kProgram);
  if (::access(path.c_str(), X_OK) != 0) {
    return Unavailable(
        "a .png needs {}, which is not there: build and install Evenkeel with librsvg2-dev present "
        "(tools/setup.sh installs it), {}",
        path, kInstead);
  }
  auto png = Render(path, svg, limit);
  if (png.ok()) return png;
  return Unavailable(
      "{} made no picture: {}; on Debian it needs: apt-get install librsvg2-2 fonts-dejavu-core; "
      "{}",
      kProgram, png.status().message(), kInstead);
}

Status CheckPng(const std::string& libexec) {
  return RenderPng(libexec,
                   "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"8\" height=\"8\">"
                   "<text>a</text></svg>")
      .status();
}

}  // namespace evenkeel
