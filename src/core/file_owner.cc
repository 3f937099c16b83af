#include "core/file_owner.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <filesystem>
#include <system_error>
#include <vector>

#include "core/format.h"

namespace evenkeel {

Status GiveToOwnerOf(const std::string& folder, int fd) {
  const std::string place = folder.empty() ? "." : folder;
  struct stat owner {};
  if (::geteuid() != 0 || ::stat(place.c_str(), &owner) != 0 || owner.st_uid == 0) return {};
  struct stat file {};
  if (::fstat(fd, &file) != 0 || (S_ISREG(file.st_mode) && file.st_nlink > 1)) return {};
  if (::fchown(fd, owner.st_uid, owner.st_gid) == 0) return {};
  return Unavailable("what was made in '{}' cannot be given to its owner: {}", place,
                     std::generic_category().message(errno));
}

Status MakeFolders(const std::string& folder) {
  namespace fs = std::filesystem;
  std::error_code error;
  std::vector<fs::path> missing;
  fs::path at = fs::absolute(folder, error).lexically_normal();
  while (!error && at.has_relative_path() && !fs::is_directory(at, error)) {
    // "Not there" is no error here, but it is said as one.
    if (error == std::errc::no_such_file_or_directory) error.clear();
    missing.push_back(at);
    at = at.parent_path();
  }
  for (auto next = missing.rbegin(); !error && next != missing.rend(); ++next) {
    const std::string path = next->string();
    if (::mkdir(path.c_str(), 0777) != 0) {
      if (errno != EEXIST || !fs::is_directory(*next, error))
        error = error ? error : std::error_code(errno, std::generic_category());
      continue;
    }
    const int fd = ::open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
    if (fd < 0) continue;
    // Where that is not permitted it stays root's.
    static_cast<void>(GiveToOwnerOf(next->parent_path().string(), fd));
    ::close(fd);
  }
  if (!error) return Status::Ok();
  return Unavailable("the folder '{}' cannot be made: {}", folder, error.message());
}

}  // namespace evenkeel
