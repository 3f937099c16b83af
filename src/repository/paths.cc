#include "repository/paths.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <filesystem>

#include "core/format.h"
#include "core/parse.h"

namespace evenkeel {
namespace {

namespace fs = std::filesystem;

constexpr size_t kMaxLabelsFile = size_t{16} << 20;
constexpr size_t kMaxPathText = 1024;

bool IsNameChar(char c, bool first) {
  const bool alnum = (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9');
  return alnum || (!first && (c == '.' || c == '_' || c == '-'));
}

class Descriptor {
 public:
  explicit Descriptor(int fd) : fd_(fd) {}
  ~Descriptor() {
    if (fd_ >= 0) ::close(fd_);
  }
  Descriptor(const Descriptor&) = delete;
  Descriptor& operator=(const Descriptor&) = delete;
  int get() const { return fd_; }

 private:
  const int fd_;
};

Result<std::string> Canonical(const std::string& path) {
  std::error_code error;
  fs::path canonical = fs::canonical(path, error);
  if (!error) return canonical.string();
  if (error == std::errc::no_such_file_or_directory || error == std::errc::not_a_directory) {
    return NotFound("'{}' does not exist", path);
  }
  return InvalidArgument("'{}': {}", path, error.message());
}

}  // namespace

bool IsModelName(std::string_view name) {
  if (name.empty() || name.size() > 128 || !IsNameChar(name[0], true)) return false;
  return std::ranges::all_of(name.substr(1), [](char c) { return IsNameChar(c, false); });
}

Result<std::string> CanonicalFolder(const std::string& folder) {
  Result<std::string> path = Canonical(folder);
  if (!path.ok()) return path;
  std::error_code error;
  if (!fs::is_directory(*path, error)) return InvalidArgument("'{}' is not a folder", folder);
  return path;
}

bool IsInside(std::string_view root, std::string_view path) {
  if (!path.starts_with(root) || root.empty()) return false;
  return path.size() == root.size() || root == "/" || path[root.size()] == '/';
}

Result<std::string> ResolveInside(const std::string& root, const std::string& path) {
  Result<std::string> canonical = Canonical(path);
  if (!canonical.ok()) return canonical;
  if (!IsInside(root, *canonical)) {
    return InvalidArgument("'{}' leads to '{}', outside '{}'", path, *canonical, root);
  }
  return canonical;
}

Result<std::string> ResolveRelative(const std::string& root, const std::string& base,
                                    std::string_view relative) {
  if (root.empty())
    return InvalidArgument("there is no folder that path {} could be in", Excerpt(relative));
  if (relative.empty()) return InvalidArgument("the path is empty");
  if (relative.size() > kMaxPathText) {
    return InvalidArgument("path {} is longer than {} bytes", Excerpt(relative), kMaxPathText);
  }
  if (!IsUtf8(relative)) return InvalidArgument("path {} is not UTF-8", Excerpt(relative));
  if (relative[0] == '/') return InvalidArgument("path {} is absolute", Excerpt(relative));
  for (char c : relative) {
    const auto byte = static_cast<unsigned char>(c);
    if (byte < 0x20 || byte == 0x7f || c == '\\') {
      return InvalidArgument("path {} has a control character or a backslash", Excerpt(relative));
    }
  }
  for (const fs::path& part : fs::path(relative)) {
    if (part == "..") return InvalidArgument("path {} has '..' in it", Excerpt(relative));
  }
  return ResolveInside(root, (fs::path(base) / relative).string());
}

Result<std::string> ReadSmallFile(const std::string& path, size_t limit) {
  // O_NONBLOCK: a FIFO put there must not hang the daemon.
  const Descriptor file(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK));
  if (file.get() < 0) {
    if (errno == ENOENT) return NotFound("'{}' does not exist", path);
    return InvalidArgument("'{}': {}", path, std::strerror(errno));
  }
  struct stat info {};
  if (::fstat(file.get(), &info) != 0 || !S_ISREG(info.st_mode)) {
    return InvalidArgument("'{}' is not a regular file", path);
  }
  std::string text;
  while (text.size() <= limit) {
    const size_t old = text.size();
    // One byte past the limit tells a file that is too long; the file may also grow while it is
    // read.
    const size_t room = std::min<size_t>(limit + 1 - old, size_t{64} << 10);
    text.resize(old + room);
    const ssize_t got = ::read(file.get(), text.data() + old, room);
    if (got < 0 && errno == EINTR) {
      text.resize(old);
      continue;
    }
    if (got < 0) return InvalidArgument("'{}': {}", path, std::strerror(errno));
    text.resize(old + static_cast<size_t>(got));
    if (got == 0) return text;
  }
  return TooLarge("'{}' is larger than {}", path, FormatBytes(static_cast<int64_t>(limit)));
}

Result<std::vector<std::string>> ReadLabels(const std::string& path) {
  Result<std::string> text = ReadSmallFile(path, kMaxLabelsFile);
  if (!text.ok()) return text.status();
  if (!IsUtf8(*text)) return InvalidArgument("labels file '{}' is not UTF-8", path);
  std::vector<std::string> labels;
  for (size_t at = 0; at < text->size();) {
    const size_t end = std::min(text->find('\n', at), text->size());
    std::string label = text->substr(at, end - at);
    label.erase(label.find_last_not_of(" \t\r") + 1);
    labels.push_back(std::move(label));
    at = end + 1;
  }
  while (!labels.empty() && labels.back().empty()) labels.pop_back();
  return labels;
}

}  // namespace evenkeel
