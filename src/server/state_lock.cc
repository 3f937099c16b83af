#include "server/state_lock.h"

#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "core/file_owner.h"
#include "core/format.h"

namespace evenkeel {

Result<std::unique_ptr<StateLock>> StateLock::Take(const std::string& folder) {
  EK_RETURN_IF_ERROR(MakeFolders(folder).Annotate("state"));
  const std::string path = folder + "/lock";
  const int fd = open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
  if (fd < 0)
    return Unavailable("state folder '{}' cannot be written: {}", folder, std::strerror(errno));
  // `sudo evenkeel cluster init` must not leave a file that the server cannot open.
  static_cast<void>(GiveToOwnerOf(folder, fd));
  if (flock(fd, LOCK_EX | LOCK_NB) != 0) {
    char holder[32] = "unknown";
    if (const ssize_t n = pread(fd, holder, sizeof holder - 1, 0); n > 0) holder[n] = '\0';
    close(fd);
    return Conflict(
        "state folder '{}' is in use by another evenkeel (process {}); give this one its own "
        "--state",
        folder, holder);
  }
  const std::string pid = std::to_string(getpid());
  // A full disk must not stop the daemon: the id is for the message above only.
  if (ftruncate(fd, 0) != 0 || pwrite(fd, pid.data(), pid.size(), 0) < 0) errno = 0;
  return std::unique_ptr<StateLock>(new StateLock(fd));
}

StateLock::~StateLock() { close(fd_); }

}  // namespace evenkeel
