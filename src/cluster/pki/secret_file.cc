#include "cluster/pki/secret_file.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <utility>

#include "core/format.h"

namespace evenkeel::pki {
namespace {

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

}  // namespace

Status WriteSecretFile(const std::string& path, std::string_view content) {
  static std::atomic<uint64_t> made{0};  // threads may write the same file
  const std::string beside = fmt::format("{}.{}.{}.tmp", path, ::getpid(), made.fetch_add(1));
  ::unlink(beside.c_str());  // of an earlier attempt
  Status status;
  {
    const File file(::open(beside.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600));
    if (file.fd() < 0) return Failed("create", beside);
    status = WriteAll(file.fd(), content, beside);
  }
  if (status.ok() && ::rename(beside.c_str(), path.c_str()) != 0) status = Failed("rename", beside);
  if (!status.ok()) {
    ::unlink(beside.c_str());
    return status;
  }
  return SyncFolder(std::filesystem::path(path).parent_path().string());
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
  std::error_code error;
  std::filesystem::create_directories(std::filesystem::path(path).parent_path(), error);
  if (::mkdir(path.c_str(), 0700) == 0 || errno == EEXIST) return Status::Ok();
  return Failed("make folder", path);
}

Status SyncFolder(const std::string& path) {
  const File folder(::open(path.empty() ? "." : path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (folder.fd() < 0) return Failed("open", path);
  return ::fsync(folder.fd()) == 0 ? Status::Ok() : Failed("fsync", path);
}

}  // namespace evenkeel::pki
