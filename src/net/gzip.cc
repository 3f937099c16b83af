#include "net/gzip.h"

#include <zlib.h>

#include <algorithm>
#include <limits>

#include "core/format.h"

namespace evenkeel {
namespace {

constexpr int kGzipBits = 15 + 16;
constexpr int kZlibBits = 15;
constexpr int kRawBits = -15;
constexpr size_t kFirstGuess = 64 * 1024;

// Clients disagree whether "deflate" has the zlib header that the standard asks for.
bool HasZlibHeader(std::span<const std::byte> data) {
  if (data.size() < 2) return false;
  const auto a = static_cast<unsigned>(data[0]);
  const auto b = static_cast<unsigned>(data[1]);
  return (a & 0x0f) == Z_DEFLATED && (a * 256 + b) % 31 == 0;
}

uInt Clamp(size_t n) {
  return static_cast<uInt>(std::min<size_t>(n, std::numeric_limits<uInt>::max()));
}

}  // namespace

Result<std::string> Inflate(std::span<const std::byte> data, Coding coding, size_t max_bytes) {
  z_stream stream{};
  const int bits = coding == Coding::kGzip ? kGzipBits : HasZlibHeader(data) ? kZlibBits : kRawBits;
  if (inflateInit2(&stream, bits) != Z_OK) return Internal("zlib: out of memory");
  struct End {
    z_stream* s;
    ~End() { inflateEnd(s); }
  } const end{&stream};
  if (data.size() > std::numeric_limits<uInt>::max())
    return TooLarge("the compressed body is too large");
  stream.next_in = reinterpret_cast<Bytef*>(const_cast<std::byte*>(data.data()));
  stream.avail_in = static_cast<uInt>(data.size());
  std::string out;
  for (;;) {
    const size_t used = out.size();
    // One byte more than allowed, so that exactly max_bytes is no error.
    const size_t room = std::min(std::max(kFirstGuess, used), max_bytes + 1 - used);
    if (room == 0) return TooLarge("the body unfolds to more than {} bytes", max_bytes);
    out.resize(used + room);
    stream.next_out = reinterpret_cast<Bytef*>(out.data() + used);
    stream.avail_out = Clamp(room);
    const uInt offered = stream.avail_out;
    const int rc = inflate(&stream, Z_NO_FLUSH);
    out.resize(used + (offered - stream.avail_out));
    if (out.size() > max_bytes)
      return TooLarge("the body unfolds to more than {} bytes", max_bytes);
    if (rc == Z_STREAM_END) break;
    if (rc == Z_BUF_ERROR || (rc == Z_OK && stream.avail_in == 0 && stream.avail_out > 0)) {
      return InvalidArgument("the compressed body is cut short");
    }
    if (rc != Z_OK)
      return InvalidArgument("the compressed body is broken: {}",
                             stream.msg != nullptr ? stream.msg : "bad data");
  }
  if (stream.avail_in > 0)
    return InvalidArgument("{} bytes follow the compressed body", stream.avail_in);
  return out;
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
