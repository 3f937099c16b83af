#include "net/gzip.h"

#include <sys/mman.h>
#include <zlib.h>

#include <algorithm>
#include <limits>

#include "core/format.h"

namespace evenkeel {
namespace {

constexpr int kGzipBits = 15 + 16;
constexpr int kZlibBits = 15;
constexpr int kRawBits = -15;
constexpr size_t kLarge = size_t{4} << 20;
constexpr size_t kMostIn = 16 * 1024;   // of a step
constexpr size_t kMostOut = 64 * 1024;  // of a step

// Clients disagree whether "deflate" has the zlib header that the standard asks for.
bool HasZlibHeader(std::span<const std::byte> data) {
  if (data.size() < 2) return false;
  const auto a = static_cast<unsigned>(data[0]);
  const auto b = static_cast<unsigned>(data[1]);
  return (a & 0x0f) == Z_DEFLATED && (a * 256 + b) % 31 == 0;
}

}  // namespace

bool GrowingBytes::Grow(size_t capacity) {
  void* const grown = data_ == nullptr ? ::mmap(nullptr, capacity, PROT_READ | PROT_WRITE,
                                                MAP_PRIVATE | MAP_ANONYMOUS, -1, 0)
                                       : ::mremap(data_, capacity_, capacity, MREMAP_MAYMOVE);
  if (grown == MAP_FAILED) return false;
  // Touching small pages costs more than unfolding into them, and giving 64 MiB of them back some
  // 15 ms at once. Where the kernel has no huge pages that remains.
  if (capacity >= kLarge) ::madvise(grown, capacity, MADV_HUGEPAGE);
  data_ = static_cast<std::byte*>(grown);
  capacity_ = capacity;
  return true;
}

void GrowingBytes::Reset() {
  if (data_ != nullptr) ::munmap(data_, capacity_);
  data_ = nullptr;
  capacity_ = 0;
}

struct Unfolder::Zlib {
  z_stream stream{};
  ~Zlib() { inflateEnd(&stream); }
};

Unfolder::Unfolder(std::span<const std::byte> data, Coding coding, size_t max_bytes)
    : max_bytes_(max_bytes), left_(data), zlib_(std::make_unique<Zlib>()) {
  const int bits = coding == Coding::kGzip ? kGzipBits : HasZlibHeader(data) ? kZlibBits : kRawBits;
  if (inflateInit2(&zlib_->stream, bits) != Z_OK) zlib_.reset();
}

Unfolder::~Unfolder() = default;

// One byte more than allowed at most, so that exactly max_bytes is no error.
bool Unfolder::MakeRoom() {
  if (size_ < plain_.capacity()) return true;
  return plain_.Grow(std::min(std::max(kMostOut, plain_.capacity() * 2), max_bytes_ + 1));
}

Result<bool> Unfolder::Step() {
  if (zlib_ == nullptr || !MakeRoom()) return Internal("out of memory for a compressed body");
  z_stream& stream = zlib_->stream;
  const size_t in = std::min(left_.size(), kMostIn);
  const size_t room = std::min(plain_.capacity() - size_, kMostOut);
  stream.next_in = reinterpret_cast<Bytef*>(const_cast<std::byte*>(left_.data()));
  stream.avail_in = static_cast<uInt>(in);
  stream.next_out = reinterpret_cast<Bytef*>(plain_.data() + size_);
  stream.avail_out = static_cast<uInt>(room);
  const int rc = inflate(&stream, Z_NO_FLUSH);
  left_ = left_.subspan(in - stream.avail_in);
  size_ += room - stream.avail_out;
  if (size_ > max_bytes_) {
    size_ = max_bytes_;
    return TooLarge("the body unfolds to more than {} bytes", max_bytes_);
  }
  if (rc == Z_STREAM_END) {
    if (left_.empty()) return true;
    return InvalidArgument("{} bytes follow the compressed body", left_.size());
  }
  if (rc == Z_BUF_ERROR || (rc == Z_OK && left_.empty() && stream.avail_out > 0))
    return InvalidArgument("the compressed body is cut short");
  if (rc != Z_OK) {
    return InvalidArgument("the compressed body is broken: {}",
                           stream.msg != nullptr ? stream.msg : "bad data");
  }
  return false;
}

Result<std::string> Inflate(std::span<const std::byte> data, Coding coding, size_t max_bytes) {
  Unfolder unfolder(data, coding, max_bytes);
  for (;;) {
    const Result<bool> done = unfolder.Step();
    if (!done.ok()) return done.status();
    if (!*done) continue;
    const std::span<const std::byte> plain = unfolder.plain();
    return std::string(reinterpret_cast<const char*>(plain.data()), plain.size());
  }
}

Result<std::string> Deflate(std::string_view data, Coding coding) {
  z_stream stream{};
  if (deflateInit2(&stream, Z_BEST_SPEED, Z_DEFLATED,
                   coding == Coding::kGzip ? kGzipBits : kZlibBits, 8,
                   Z_DEFAULT_STRATEGY) != Z_OK) {
    return Internal("zlib: out of memory");
  }
  std::string out(deflateBound(&stream, static_cast<uLong>(data.size())), '\0');
  if (data.size() > std::numeric_limits<uInt>::max() ||
      out.size() > std::numeric_limits<uInt>::max()) {
    deflateEnd(&stream);
    return TooLarge("{} bytes are too many to compress", data.size());
  }
  stream.next_in = reinterpret_cast<Bytef*>(const_cast<char*>(data.data()));
  stream.avail_in = static_cast<uInt>(data.size());
  stream.next_out = reinterpret_cast<Bytef*>(out.data());
  stream.avail_out = static_cast<uInt>(out.size());
  const int rc = deflate(&stream, Z_FINISH);
  out.resize(out.size() - stream.avail_out);
  deflateEnd(&stream);
  if (rc != Z_STREAM_END) return Internal("zlib: deflate ended with {}", rc);
  return out;
}

}  // namespace evenkeel
