#include "core/replace_file.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <filesystem>
#include <system_error>

#include "core/file_owner.h"
#include "core/format.h"

namespace evenkeel {
namespace {

Status Errno(std::string_view what, const std::string& path) {
  return Unavailable("{}: {}: {}", path, what, std::generic_category().message(errno));
}

class File {
 public:
  File(const std::string& path, int flags) : fd_(::open(path.c_str(), flags | O_CLOEXEC, 0600)) {}
  ~File() {
    if (fd_ >= 0) ::close(fd_);
  }
  File(const File&) = delete;
  File& operator=(const File&) = delete;
  int fd() const { return fd_; }

 private:
  int fd_;
};

Status WriteAll(const std::string& path, std::string_view bytes) {
  const File file(path, O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW);
  if (file.fd() < 0) return Errno("open", path);
  // Where that is not permitted it stays root's: what is written is worth more than whose it is.
  static_cast<void>(GiveToOwnerOf(std::filesystem::path(path).parent_path().string(), file.fd()));
  while (!bytes.empty()) {
    const ssize_t written = ::write(file.fd(), bytes.data(), bytes.size());
    if (written < 0 && errno == EINTR) continue;
    if (written < 0) return Errno("write", path);
    bytes.remove_prefix(static_cast<size_t>(written));
  }
  return ::fsync(file.fd()) == 0 ? Status::Ok() : Errno("fsync", path);
}

}  // namespace

Status ReplaceFile(const std::string& path, std::string_view bytes) {
  const std::string temporary = path + std::string(kTemporarySuffix);
  Status status = WriteAll(temporary, bytes);
  if (status.ok() && ::rename(temporary.c_str(), path.c_str()) != 0) status = Errno("rename", path);
  if (!status.ok()) {
    ::unlink(temporary.c_str());
    return status;
  }
  // The rename itself must survive a power cut too; where folders cannot be synced, it is as safe
  // as it gets.
  const std::filesystem::path parent = std::filesystem::path(path).parent_path();
  const File folder(parent.empty() ? "." : parent.string(), O_RDONLY | O_DIRECTORY);
  if (folder.fd() >= 0) (void)::fsync(folder.fd());
  return Status::Ok();
}

}  // namespace evenkeel
