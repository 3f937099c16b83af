#include "core/file_owner.h"

#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <system_error>

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

}  // namespace evenkeel
