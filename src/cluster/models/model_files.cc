#include "cluster/models/model_files.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <filesystem>
#include <set>

#include "cluster/models/sha256.h"
#include "core/format.h"
#include "core/parse.h"
#include "repository/file_format.h"
#include "repository/paths.h"

namespace evenkeel {
namespace {

namespace fs = std::filesystem;

constexpr size_t kBlock = size_t{1} << 20;
constexpr size_t kMostDigested = 200'000;  // digests that are kept
constexpr size_t kMostHeld = 64;           // models whose listings are kept for readers

class OpenFile {
 public:
  // O_NONBLOCK: a FIFO that was put there must not hang the thread.
  explicit OpenFile(const std::string& path)
      : fd_(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK)) {}
  ~OpenFile() {
    if (fd_ >= 0) ::close(fd_);
  }
  OpenFile(const OpenFile&) = delete;
  OpenFile& operator=(const OpenFile&) = delete;
  int fd() const { return fd_; }

 private:
  const int fd_;
};

Status Broken(const std::string& path) { return Unavailable("{}: {}", path, std::strerror(errno)); }

int64_t Nanoseconds(const timespec& time) {
  return int64_t{time.tv_sec} * 1'000'000'000 + time.tv_nsec;
}

// What belongs to a bare file of this suffix.
std::string_view Companion(std::string_view suffix) {
  if (suffix == ".xml") return ".bin";
  if (suffix == ".pdmodel") return ".pdiparams";
  return "";
}

}  // namespace

struct ModelFiles::Entry {
  std::string path;  // of the folder, or of the file
  bool folder = true;
  bool is_link = false;                                    // the folder is one
  std::vector<std::pair<std::string, std::string>> files;  // listed path, where it lies
  std::vector<std::string> empty_folders;
};

Result<ModelFiles::Stamp> ModelFiles::StampOf(int fd, const std::string& path) {
  struct stat info {};
  if (::fstat(fd, &info) != 0) return Broken(path);
  if (!S_ISREG(info.st_mode)) return InvalidArgument("'{}' is no regular file", path);
  return Stamp{info.st_dev, info.st_ino, static_cast<uint64_t>(info.st_size),
               Nanoseconds(info.st_mtim), Nanoseconds(info.st_ctim)};
}

namespace {

using Files = std::vector<std::pair<std::string, std::string>>;

// The files below `root`, a canonical folder.
Status AddFolder(const std::string& root, Files* files, std::vector<std::string>* empty_folders) {
  std::set<std::string> folders;
  std::error_code error;
  fs::recursive_directory_iterator it(root, error);
  for (; !error && it != fs::recursive_directory_iterator(); it.increment(error)) {
    const fs::file_status status = it->symlink_status(error);
    if (error) break;
    // Version control, caches of downloads.
    if (it->path().filename().string().starts_with('.')) {
      if (fs::is_directory(status)) it.disable_recursion_pending();
      continue;
    }
    std::string listed = it->path().lexically_relative(root).generic_string();
    EK_RETURN_IF_ERROR(CheckListedPath(listed));
    if (files->size() + folders.size() == kMostModelFiles)
      return TooLarge("'{}' has more than {} files", root, kMostModelFiles);
    if (fs::is_directory(status)) {
      folders.insert(std::move(listed));
      continue;
    }
    std::string path = it->path().string();
    if (fs::is_symlink(status)) {
      auto target = ResolveInside(root, path);
      if (!target.ok()) return target.status();
      path = std::move(*target);
      if (fs::is_directory(path, error))
        return InvalidArgument(
            "'{}' is a link to a folder; a model that is copied is made of files and folders",
            it->path().string());
    } else if (!fs::is_regular_file(status)) {
      return InvalidArgument("'{}' is no regular file", path);
    }
    files->emplace_back(std::move(listed), std::move(path));
  }
  if (error) return Unavailable("'{}': {}", root, error.message());
  std::ranges::sort(*files);
  if (files->empty()) return NotFound("'{}' has no files", root);
  for (const auto& [listed, _] : *files) {
    for (fs::path above = fs::path(listed).parent_path(); !above.empty();
         above = above.parent_path())
      folders.erase(above.generic_string());
  }
  empty_folders->assign(folders.begin(), folders.end());
  return Status::Ok();
}

}  // namespace

Result<ModelFiles::Entry> ModelFiles::Find(const std::string& model) const {
  if (!IsModelName(model)) return NotFound("{} is not a model's name", Excerpt(model));
  const auto root = CanonicalFolder(folder_);
  if (!root.ok()) return root.status();
  std::vector<Entry> found;
  std::error_code error;
  const fs::path folder = fs::path(*root) / model;
  const fs::file_status status = fs::symlink_status(folder, error);
  if (fs::is_directory(folder, error)) {
    Entry entry{folder.string(), true, fs::is_symlink(status), {}, {}};
    const auto inside = ResolveInside(*root, entry.path);
    if (!inside.ok()) return inside.status();
    EK_RETURN_IF_ERROR(AddFolder(*inside, &entry.files, &entry.empty_folders));
    found.push_back(std::move(entry));
  }
  fs::directory_iterator it(*root, error);
  for (; !error && it != fs::directory_iterator(); it.increment(error)) {
    const fs::directory_entry& one = *it;
    std::error_code ignored;
    const std::string name = one.path().filename().string();
    if (name.starts_with('.') || one.path().stem().string() != model || one.is_directory(ignored) ||
        !FormatOfFileName(name))
      continue;
    Entry entry{one.path().string(), false, false, {}, {}};
    const std::string suffix = one.path().extension().string();
    for (const std::string_view end : {std::string_view(suffix), Companion(suffix)}) {
      if (end.empty()) continue;
      const std::string path = (fs::path(*root) / (model + std::string(end))).string();
      auto inside = ResolveInside(*root, path);
      if (!inside.ok()) return inside.status();
      entry.files.emplace_back(model + std::string(end), std::move(*inside));
    }
    std::ranges::sort(entry.files);
    found.push_back(std::move(entry));
  }
  if (error) return Unavailable("'{}': {}", *root, error.message());
  if (found.empty()) return NotFound("there are no files of a model '{}'", model);
  if (found.size() > 1)
    return InvalidArgument("'{}' and '{}' are both a model '{}': rename one", found[0].path,
                           found[1].path, model);
  return std::move(found[0]);
}

Result<ModelFiles::Digested> ModelFiles::Digest(const std::string& path,
                                                const std::function<bool()>& stopped) {
  const OpenFile file(path);
  if (file.fd() < 0) return Broken(path);
  const auto stamp = StampOf(file.fd(), path);
  if (!stamp.ok()) return stamp.status();
  {
    const std::lock_guard lock(mutex_);
    const auto known = digested_.find(path);
    if (known != digested_.end() && known->second.stamp == *stamp) return known->second;
  }
  Sha256 sum;
  std::vector<char> buffer(kBlock);
  uint64_t bytes = 0;
  for (;;) {
    if (stopped && stopped()) return Cancelled("stopped");
    const ssize_t n = ::read(file.fd(), buffer.data(), buffer.size());
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return Broken(path);
    if (n == 0) break;
    bytes += static_cast<uint64_t>(n);
    sum.Add({buffer.data(), static_cast<size_t>(n)});
  }
  const auto after = StampOf(file.fd(), path);
  if (!after.ok()) return after.status();
  if (*after != *stamp || bytes != stamp->bytes)
    return Conflict("'{}' changed while it was read", path);
  Digested digested{*stamp, sum.Hex()};
  const std::lock_guard lock(mutex_);
  if (digested_.size() >= kMostDigested) digested_.clear();
  digested_[path] = digested;
  return digested;
}

Result<std::shared_ptr<const ModelFiles::Held>> ModelFiles::Hold(
    const std::string& model, const std::function<bool()>& stopped) {
  const auto entry = Find(model);
  if (!entry.ok()) return entry.status();
  auto held = std::make_shared<Held>();
  held->listing.name = model;
  held->listing.folder = entry->folder || entry->files.size() > 1;
  held->listing.empty_folders = entry->empty_folders;
  for (const auto& [listed, path] : entry->files) {
    auto digested = Digest(path, stopped);
    if (!digested.ok()) return digested.status();
    held->listing.files.push_back({listed, digested->stamp.bytes, digested->sha256});
    held->listing.bytes += digested->stamp.bytes;
    held->at.emplace(listed, std::pair(path, digested->stamp));
  }
  held->listing.digest = ContentDigest(held->listing);
  EK_RETURN_IF_ERROR(CheckListing(held->listing, model));
  const std::lock_guard lock(mutex_);
  if (held_.size() >= kMostHeld && !held_.contains(model)) held_.erase(held_.begin());
  held_[model] = held;
  return std::shared_ptr<const Held>(held);
}

Result<ModelListing> ModelFiles::List(const std::string& model,
                                      const std::function<bool()>& stopped) {
  const auto held = Hold(model, stopped);
  if (!held.ok()) return held.status();
  return (*held)->listing;
}

Result<std::string> ModelFiles::Read(const FilePiece& piece) {
  if (piece.length < 1 || piece.length > kMostPieceBytes)
    return InvalidArgument("a piece of a file: expected 1 to {} bytes, got {}", kMostPieceBytes,
                           piece.length);
  std::shared_ptr<const Held> held;
  {
    const std::lock_guard lock(mutex_);
    const auto known = held_.find(piece.model);
    if (known != held_.end() && known->second->listing.digest == piece.digest) held = known->second;
  }
  if (!held) {
    const auto fresh = Hold(piece.model, {});
    if (!fresh.ok()) return fresh.status();
    held = *fresh;
  }
  if (held->listing.digest != piece.digest)
    return Conflict("model '{}' is sha256:{} here, not sha256:{}", piece.model,
                    held->listing.digest, Excerpt(piece.digest, 80));
  const auto at = held->at.find(piece.path);
  if (at == held->at.end())
    return NotFound("model '{}' has no file {}", piece.model, Excerpt(piece.path));
  const auto& [path, listed] = at->second;
  if (piece.offset > listed.bytes)
    return InvalidArgument("'{}' of model '{}' has {} bytes, asked for those from {} on",
                           piece.path, piece.model, listed.bytes, piece.offset);
  const OpenFile file(path);
  if (file.fd() < 0) return Broken(path);
  const auto stamp = StampOf(file.fd(), path);
  if (!stamp.ok()) return stamp.status();
  if (*stamp != listed) {
    const std::lock_guard lock(mutex_);
    held_.erase(piece.model);
    return Conflict("'{}' of model '{}' changed while it was copied", piece.path, piece.model);
  }
  std::string bytes(std::min(piece.length, listed.bytes - piece.offset), '\0');
  for (size_t have = 0; have < bytes.size();) {
    const ssize_t n = ::pread(file.fd(), bytes.data() + have, bytes.size() - have,
                              static_cast<off_t>(piece.offset + have));
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return Broken(path);
    if (n == 0)
      return Conflict("'{}' of model '{}' changed while it was copied", piece.path, piece.model);
    have += static_cast<size_t>(n);
  }
  return bytes;
}

Status ModelFiles::Remove(const std::string& model) {
  const auto entry = Find(model);
  if (!entry.ok()) return entry.status();
  {
    const std::lock_guard lock(mutex_);
    held_.erase(model);
  }
  std::error_code error;
  if (!entry->folder) {
    // What names the model goes first: x.xml before x.bin. By its name in the folder: where that is a link, the link goes.
    for (auto file = entry->files.rbegin(); file != entry->files.rend(); ++file) {
      const auto& [listed, path] = *file;
      fs::remove(fs::path(entry->path).parent_path() / listed, error);
      if (error) return Unavailable("'{}': {}", path, error.message());
    }
    return Status::Ok();
  }
  if (entry->is_link) {
    fs::remove(entry->path, error);
  } else {
    // One rename, so that no server ever sees half a model.
    const fs::path away = fs::path(entry->path).parent_path() / (".removed-" + model);
    fs::remove_all(away, error);
    fs::rename(entry->path, away, error);
    if (!error) fs::remove_all(away, error);
  }
  return error ? Unavailable("'{}': {}", entry->path, error.message()) : Status::Ok();
}

}  // namespace evenkeel
