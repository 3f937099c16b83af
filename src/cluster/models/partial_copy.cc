#include "cluster/models/partial_copy.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <filesystem>
#include <utility>
#include <vector>

#include "cluster/models/sha256.h"
#include "core/format.h"
#include "core/parse.h"

namespace evenkeel {
namespace {

namespace fs = std::filesystem;

constexpr size_t kBlock = size_t{1} << 20;

class Descriptor {
 public:
  Descriptor(const std::string& path, int flags)
      : fd_(::open(path.c_str(), flags | O_CLOEXEC | O_NOFOLLOW, 0644)) {}
  ~Descriptor() {
    if (fd_ >= 0) ::close(fd_);
  }
  Descriptor(const Descriptor&) = delete;
  Descriptor& operator=(const Descriptor&) = delete;
  int fd() const { return fd_; }

 private:
  const int fd_;
};

void SyncFolder(const fs::path& folder) {
  const Descriptor opened(folder.string(), O_RDONLY | O_DIRECTORY);
  if (opened.fd() >= 0) ::fsync(opened.fd());
}

}  // namespace

PartialCopy::PartialCopy(std::string partial, std::string model, std::string digest)
    : root_(std::move(partial)),
      model_(std::move(model)),
      digest_(std::move(digest)),
      folder_((fs::path(root_) / (model_ + "@" + digest_)).string()) {}

std::string PartialCopy::PathOf(const ListedFile& file) const {
  return (fs::path(folder_) / file.path).string();
}

uint64_t PartialCopy::BytesOf(const ListedFile& file) const {
  struct stat info {};
  if (::lstat(PathOf(file).c_str(), &info) != 0 || !S_ISREG(info.st_mode)) return 0;
  return static_cast<uint64_t>(info.st_size);
}

Status PartialCopy::Begin(const ModelListing& listing, uint64_t spare_bytes) {
  std::error_code error;
  fs::create_directories(folder_, error);
  if (error) return Unavailable("'{}': {}", folder_, error.message());
  // Copies of other contents under the name: nobody goes on with them.
  std::vector<fs::path> old;
  fs::directory_iterator it(root_, error);
  for (; !error && it != fs::directory_iterator(); it.increment(error)) {
    const std::string name = it->path().filename().string();
    if (name.starts_with(model_ + "@") && it->path() != folder_) old.push_back(it->path());
  }
  for (const fs::path& path : old) fs::remove_all(path, error);
  RemoveUnlisted(listing);
  for (const std::string& empty : listing.empty_folders) {
    const fs::path path = fs::path(folder_) / empty;
    fs::create_directories(path, error);
    if (error) return Failed(path.string(), error.value());
  }
  for (const ListedFile& file : listing.files) {
    if (BytesOf(file) > file.bytes) EK_RETURN_IF_ERROR(Discard(file));
  }
  return CheckRoom(listing, spare_bytes);
}

void PartialCopy::RemoveUnlisted(const ModelListing& listing) const {
  std::set<std::string_view> listed;
  for (const ListedFile& file : listing.files) listed.insert(file.path);
  std::vector<fs::path> others;
  std::error_code error;
  fs::recursive_directory_iterator it(folder_, error);
  for (; !error && it != fs::recursive_directory_iterator(); it.increment(error)) {
    const fs::file_status status = it->symlink_status(error);
    if (!error && !fs::is_directory(status) &&
        !listed.contains(it->path().lexically_relative(folder_).generic_string()))
      others.push_back(it->path());
  }
  for (const fs::path& path : others) fs::remove(path, error);
}

Status PartialCopy::CheckRoom(const ModelListing& listing, uint64_t spare_bytes) const {
  struct statvfs disk {};
  if (::statvfs(folder_.c_str(), &disk) != 0) return Status::Ok();  // the write will tell
  uint64_t missing = listing.bytes;
  for (const ListedFile& file : listing.files) missing -= std::min(BytesOf(file), file.bytes);
  const uint64_t free = uint64_t{disk.f_bavail} * disk.f_frsize;
  if (missing == 0 || (free >= spare_bytes && free - spare_bytes >= missing)) return Status::Ok();
  return Unavailable("'{}' has {} free; {} of model '{}' are missing, and {} stay free", root_,
                     FormatBytes(static_cast<int64_t>(free)),
                     FormatBytes(static_cast<int64_t>(missing)), model_,
                     FormatBytes(static_cast<int64_t>(spare_bytes)));
}

Status PartialCopy::Failed(const std::string& path, int error) {
  if (error != ENOSPC && error != EDQUOT)
    return Unavailable("'{}': {}", path, std::strerror(error));
  // A full disk stops more than this copy.
  std::error_code ignored;
  fs::remove_all(folder_, ignored);
  right_.clear();
  return Unavailable(
      "the disk of '{}' is full: the copy of model '{}' is given up, and nothing of it was kept",
      root_, model_);
}

Status PartialCopy::Append(const ListedFile& file, std::string_view bytes) {
  const std::string path = PathOf(file);
  std::error_code made;
  fs::create_directories(fs::path(path).parent_path(), made);
  if (made) return Failed(path, made.value());
  const Descriptor out(path, O_WRONLY | O_CREAT | O_APPEND);
  if (out.fd() < 0) return Failed(path, errno);
  while (!bytes.empty()) {
    const ssize_t n = ::write(out.fd(), bytes.data(), bytes.size());
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return Failed(path, errno);
    bytes.remove_prefix(static_cast<size_t>(n));
  }
  return Status::Ok();
}

Result<bool> PartialCopy::Verify(const ListedFile& file, const std::function<bool()>& stopped) {
  if (right_.contains(file.path)) return true;
  const std::string path = PathOf(file);
  const Descriptor in(path, O_RDONLY);
  if (in.fd() < 0) return Failed(path, errno);
  // Written back first: some file systems say only then that they are full.
  if (::fsync(in.fd()) != 0) return Failed(path, errno);
  Sha256 sum;
  std::vector<char> buffer(kBlock);
  for (;;) {
    if (stopped()) return Cancelled("stopped");
    const ssize_t n = ::read(in.fd(), buffer.data(), buffer.size());
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return Failed(path, errno);
    if (n == 0) break;
    sum.Add({buffer.data(), static_cast<size_t>(n)});
  }
  if (sum.Hex() != file.sha256) return false;
  right_.insert(file.path);
  return true;
}

Status PartialCopy::Discard(const ListedFile& file) {
  right_.erase(file.path);
  std::error_code error;
  fs::remove(PathOf(file), error);
  return error ? Unavailable("'{}': {}", PathOf(file), error.message()) : Status::Ok();
}

Status PartialCopy::MoveTo(const std::string& models, const ModelListing& listing) {
  const fs::path from =
      listing.folder ? fs::path(folder_) : fs::path(folder_) / listing.files[0].path;
  const fs::path to = fs::path(models) / (listing.folder ? model_ : listing.files[0].path);
  SyncFolder(folder_);
  if (::renameat2(AT_FDCWD, from.c_str(), AT_FDCWD, to.c_str(), RENAME_NOREPLACE) != 0) {
    if (errno == EEXIST) return Conflict("'{}' came to be there meanwhile", to.string());
    return Failed(to.string(), errno);
  }
  SyncFolder(models);
  std::error_code ignored;
  fs::remove_all(folder_, ignored);
  return Status::Ok();
}

void RemoveOldPartials(const std::string& partial, std::chrono::hours age) {
  const auto now = fs::file_time_type::clock::now();
  std::vector<fs::path> old;
  std::error_code error;
  fs::directory_iterator it(partial, error);
  for (; !error && it != fs::directory_iterator(); it.increment(error)) {
    std::error_code ignored;
    fs::file_time_type latest = it->last_write_time(ignored);
    fs::recursive_directory_iterator file(it->path(), ignored);
    for (; !ignored && file != fs::recursive_directory_iterator(); file.increment(ignored))
      latest = std::max(latest, file->last_write_time(ignored));
    if (now - latest > age) old.push_back(it->path());
  }
  for (const fs::path& path : old) fs::remove_all(path, error);
}

}  // namespace evenkeel
