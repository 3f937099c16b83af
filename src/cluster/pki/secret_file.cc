#include "cluster/pki/secret_file.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <csignal>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <limits>
#include <utility>

#include "core/file_owner.h"
#include "core/format.h"
#include "core/parse.h"

namespace evenkeel::pki {
namespace {

namespace fs = std::filesystem;

constexpr std::string_view kSuffix = ".tmp";
// A file that is written beside is there for milliseconds. Whether its writer lives is not enough to go by: one in another container, on the same
// folder, has a number that means nothing here.
constexpr time_t kStaleAfterS = 60;

class File {
 public:
  explicit File(int fd) : fd_(fd) {}
  ~File() {
    if (fd_ >= 0) ::close(fd_);
  }
  File(const File&) = delete;
  File& operator=(const File&) = delete;
  int fd() const { return fd_; }

 private:
  const int fd_;
};

Status Failed(const char* what, const std::string& path) {
  return Unavailable("{} '{}': {}", what, path, std::strerror(errno));
}

Status WriteAll(int fd, std::string_view content, const std::string& path) {
  while (!content.empty()) {
    const ssize_t n = ::write(fd, content.data(), content.size());
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return Failed("write", path);
    content.remove_prefix(static_cast<size_t>(n));
  }
  return ::fsync(fd) == 0 ? Status::Ok() : Failed("fsync", path);
}

// The process that was to rename it, of "NAME.PID.COUNT.tmp"; 0: another file.
pid_t WriterOf(std::string_view name) {
  if (!name.ends_with(kSuffix)) return 0;
  name.remove_suffix(kSuffix.size());
  const size_t second = name.rfind('.');
  if (second == std::string_view::npos || second == 0) return 0;
  const size_t first = name.rfind('.', second - 1);
  if (first == std::string_view::npos || first == 0) return 0;
  constexpr auto kMost = std::numeric_limits<int64_t>::max();
  const auto pid =
      ParseInt(name.substr(first + 1, second - first - 1), 1, std::numeric_limits<pid_t>::max());
  const auto count = ParseInt(name.substr(second + 1), 0, kMost);
  return pid.ok() && count.ok() ? static_cast<pid_t>(*pid) : 0;
}

// What processes left that ended while they wrote: a secret that nobody would ever remove. `now_s`: by the clock of the file system.
void RemoveStale(const fs::path& folder, time_t now_s) {
  std::error_code error;
  for (auto at = fs::directory_iterator(folder, error); !error && at != fs::directory_iterator();
       at.increment(error)) {
    const pid_t writer = WriterOf(at->path().filename().string());
    if (writer == 0) continue;
    // In a container the server has the same number at each start.
    const bool gone = writer == ::getpid() || (::kill(writer, 0) != 0 && errno == ESRCH);
    struct stat facts {};
    if (gone && ::lstat(at->path().c_str(), &facts) == 0 && S_ISREG(facts.st_mode) &&
        facts.st_mtim.tv_sec + kStaleAfterS < now_s)
      ::unlink(at->path().c_str());
  }
}

}  // namespace

Status WriteSecretFile(const std::string& path, std::string_view content) {
  static std::atomic<uint64_t> made{0};  // threads may write the same file
  const std::string beside =
      fmt::format("{}.{}.{}{}", path, ::getpid(), made.fetch_add(1), kSuffix);
  const std::string folder = fs::path(path).parent_path().string();
  ::unlink(beside.c_str());  // of an earlier attempt
  Status status;
  struct stat facts {};
  {
    const File file(::open(beside.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600));
    if (file.fd() < 0) return Failed("create", beside);
    // Where that is not permitted it stays root's.
    static_cast<void>(GiveToOwnerOf(folder, file.fd()));
    status = WriteAll(file.fd(), content, beside);
    if (::fstat(file.fd(), &facts) != 0) facts = {};
  }
  if (status.ok() && ::rename(beside.c_str(), path.c_str()) != 0) status = Failed("rename", beside);
  if (!status.ok()) {
    ::unlink(beside.c_str());
    return status;
  }
  RemoveStale(folder.empty() ? "." : folder, facts.st_mtim.tv_sec);
  return SyncFolder(folder);
}

Result<std::string> ReadSecretFile(const std::string& path, size_t max_bytes) {
  const File file(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NOFOLLOW));
  if (file.fd() < 0 && errno == ENOENT) return NotFound("'{}' is not there", path);
  if (file.fd() < 0) return Failed("open", path);
  struct stat facts {};
  if (::fstat(file.fd(), &facts) != 0) return Failed("stat", path);
  if (!S_ISREG(facts.st_mode)) return InvalidArgument("'{}': expected a file", path);
  if ((facts.st_mode & 077) != 0)
    return Status(Code::kPermissionDenied,
                  fmt::format("'{}' holds a secret and has mode {:04o}: expected 0600 (chmod 600)",
                              path, facts.st_mode & 07777));
  std::string content(max_bytes + 1, '\0');
  size_t have = 0;
  while (have < content.size()) {
    const ssize_t n = ::read(file.fd(), content.data() + have, content.size() - have);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return Failed("read", path);
    if (n == 0) break;
    have += static_cast<size_t>(n);
  }
  if (have > max_bytes) return TooLarge("'{}': larger than {} bytes", path, max_bytes);
  content.resize(have);
  return content;
}

Status MakeSecretFolder(const std::string& path) {
  const fs::path parent = fs::path(path).parent_path();
  EK_RETURN_IF_ERROR(MakeFolders(parent.empty() ? "." : parent.string()));
  if (::mkdir(path.c_str(), 0700) != 0)
    return errno == EEXIST ? Status::Ok() : Failed("make folder", path);
  const File folder(::open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW));
  if (folder.fd() >= 0) static_cast<void>(GiveToOwnerOf(parent.string(), folder.fd()));
  return Status::Ok();
}

Status SyncFolder(const std::string& path) {
  const File folder(::open(path.empty() ? "." : path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (folder.fd() < 0) return Failed("open", path);
  return ::fsync(folder.fd()) == 0 ? Status::Ok() : Failed("fsync", path);
}

}  // namespace evenkeel::pki
