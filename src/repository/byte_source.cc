#include "repository/byte_source.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "core/format.h"

namespace evenkeel {
namespace {

constexpr size_t kWindowBytes = size_t{16} << 10;

}  // namespace

Result<ByteSource> ByteSource::OpenFile(const std::string& path) {
  // O_NONBLOCK: a FIFO put there must not hang the daemon.
  const int fd = ::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);
  if (fd < 0) {
    if (errno == ENOENT || errno == ENOTDIR) return NotFound("'{}' does not exist", path);
    return InvalidArgument("'{}': {}", path, std::strerror(errno));
  }
  ByteSource source;
  source.fd_ = std::shared_ptr<const int>(new int(fd), [](const int* open_fd) {
    ::close(*open_fd);
    delete open_fd;
  });
  struct stat info {};
  if (::fstat(fd, &info) != 0 || !S_ISREG(info.st_mode))
    return InvalidArgument("'{}' is not a regular file", path);
  if (info.st_size <= 0) return InvalidArgument("'{}' is empty", path);
  source.size_ = static_cast<uint64_t>(info.st_size);
  return source;
}

ByteSource ByteSource::OfBytes(std::string_view bytes) {
  ByteSource source;
  source.window_ = bytes.data();
  source.window_end_ = bytes.size();
  source.size_ = bytes.size();
  return source;
}

bool ByteSource::Fill(uint64_t offset) {
  if (fd_ == nullptr || offset >= size_) return false;
  buffer_.resize(kWindowBytes);
  const size_t wanted = static_cast<size_t>(std::min<uint64_t>(kWindowBytes, size_ - offset));
  ssize_t got = 0;
  do {
    got = ::pread(*fd_, buffer_.data(), wanted, static_cast<off_t>(offset));
  } while (got < 0 && errno == EINTR);
  window_ = buffer_.data();
  window_begin_ = offset;
  window_end_ = offset + static_cast<uint64_t>(std::max<ssize_t>(got, 0));
  return got > 0;
}

std::string ByteSource::Text(uint64_t begin, uint64_t end, size_t limit) {
  std::string text;
  for (uint64_t at = begin; at < end && text.size() < limit; ++at) {
    const int byte = ByteAt(at);
    if (byte < 0) break;
    text += static_cast<char>(byte);
  }
  return text;
}

int64_t ByteSource::LittleEndian(uint64_t offset, int bytes) {
  int64_t value = 0;
  for (int i = 0; i < bytes; ++i) {
    const int byte = ByteAt(offset + static_cast<uint64_t>(i));
    if (byte < 0) return -1;
    value |= static_cast<int64_t>(byte) << (8 * i);
  }
  return value;
}

}  // namespace evenkeel
