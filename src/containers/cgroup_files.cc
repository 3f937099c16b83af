#include "containers/cgroup_files.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <system_error>

#include "core/format.h"

namespace evenkeel {
namespace {

Status ErrnoStatus(std::string_view what, const std::string& path, int error) {
  const std::string text = std::generic_category().message(error);
  if (error == ENOENT) return NotFound("{} {}: {}", what, path, text);
  return Unavailable("{} {}: {}", what, path, text);
}

class SystemFiles final : public CgroupFiles {
 public:
  Result<std::string> Read(const std::string& path) const override {
    const int fd = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
    if (fd < 0) return ErrnoStatus("reading", path, errno);
    std::string text;
    std::array<char, 4096> buffer;
    ssize_t got = 0;
    while (text.size() < (size_t{64} << 10) &&
           (got = ::read(fd, buffer.data(), buffer.size())) > 0) {
      text.append(buffer.data(), static_cast<size_t>(got));
    }
    const int error = errno;
    ::close(fd);
    if (got < 0) return ErrnoStatus("reading", path, error);
    while (!text.empty() && (text.back() == '\n' || text.back() == '\0')) text.pop_back();
    return text;
  }

  Status Write(const std::string& path, std::string_view text) const override {
    const int fd = ::open(path.c_str(), O_WRONLY | O_CLOEXEC);
    if (fd < 0) return ErrnoStatus("opening", path, errno);
    const ssize_t put = ::write(fd, text.data(), text.size());
    const int error = errno;
    ::close(fd);
    if (put != static_cast<ssize_t>(text.size())) {
      return ErrnoStatus(fmt::format("writing '{}' to", text), path, put < 0 ? error : EIO);
    }
    return Status::Ok();
  }

  bool Exists(const std::string& path) const override { return ::access(path.c_str(), F_OK) == 0; }

  bool Writable(const std::string& path) const override {
    return ::access(path.c_str(), W_OK) == 0;
  }

  Status MakeFolder(const std::string& path) const override {
    if (::mkdir(path.c_str(), 0755) == 0 || errno == EEXIST) return Status::Ok();
    return ErrnoStatus("making", path, errno);
  }

  Status RemoveFolder(const std::string& path) const override {
    if (::rmdir(path.c_str()) == 0 || errno == ENOENT) return Status::Ok();
    return ErrnoStatus("removing", path, errno);
  }
};

}  // namespace

const CgroupFiles& CgroupFiles::System() {
  static const SystemFiles files;
  return files;
}

}  // namespace evenkeel
