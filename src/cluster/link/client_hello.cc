#include "cluster/link/client_hello.h"

#include <algorithm>
#include <optional>
#include <vector>

namespace evenkeel::link {
namespace {

using Bytes = std::span<const uint8_t>;

constexpr uint8_t kHandshakeRecord = 22;
constexpr size_t kRecordHeader = 5;
constexpr size_t kMaxRecord = 16 * 1024;
constexpr uint8_t kClientHello = 1;
constexpr uint16_t kSupportedVersions = 43;
constexpr uint16_t kTls13 = 0x0304;

// Takes numbers and counted pieces from the front; empty once something did not fit.
class Reader {
 public:
  explicit Reader(Bytes bytes) : left_(bytes) {}
  bool empty() const { return left_.empty(); }

  std::optional<Bytes> Take(size_t n) {
    if (n > left_.size()) return std::nullopt;
    const Bytes taken = left_.first(n);
    left_ = left_.subspan(n);
    return taken;
  }
  // A number of `width` bytes, the largest first.
  std::optional<size_t> Number(size_t width) {
    const std::optional<Bytes> bytes = Take(width);
    if (!bytes) return std::nullopt;
    size_t number = 0;
    for (const uint8_t byte : *bytes) number = number << 8 | byte;
    return number;
  }
  // A piece with its length before it.
  std::optional<Bytes> Counted(size_t width) {
    const std::optional<size_t> size = Number(width);
    return size ? Take(*size) : std::nullopt;
  }

 private:
  Bytes left_;
};

bool ListsTls13(Bytes extension) {
  const std::optional<Bytes> versions = Reader(extension).Counted(1);
  if (!versions) return false;
  Reader list(*versions);
  while (const std::optional<size_t> version = list.Number(2)) {
    if (*version == kTls13) return true;
  }
  return false;
}

bool OffersTls13(Bytes hello) {
  Reader reader(hello);
  constexpr size_t kVersionAndRandom = 2 + 32;
  if (!reader.Take(kVersionAndRandom) || !reader.Counted(1) || !reader.Counted(2) ||
      !reader.Counted(1))
    return false;
  const std::optional<Bytes> extensions = reader.Counted(2);
  if (!extensions || !reader.empty()) return false;
  Reader list(*extensions);
  bool offered = false;
  while (!list.empty()) {
    const std::optional<size_t> type = list.Number(2);
    const std::optional<Bytes> content = list.Counted(2);
    if (!type || !content) return false;
    if (*type == kSupportedVersions) offered = ListsTls13(*content);
  }
  return offered;
}

// Of the whole message with its header; 0 while that is not there.
size_t MessageSize(const std::vector<uint8_t>& message) {
  if (message.size() < 4) return 0;
  return 4 + (size_t{message[1]} << 16 | size_t{message[2]} << 8 | message[3]);
}

}  // namespace

HelloVerdict LookAtHello(std::span<const uint8_t> bytes) {
  std::vector<uint8_t> message;  // may be cut into several records
  for (;;) {
    if (!message.empty() && message.size() == MessageSize(message))
      return OffersTls13(std::span(message).subspan(4)) ? HelloVerdict::kTls13
                                                        : HelloVerdict::kRefused;
    if (!bytes.empty() && bytes[0] != kHandshakeRecord) return HelloVerdict::kRefused;
    if (bytes.size() >= 2 && bytes[1] != 3) return HelloVerdict::kRefused;
    if (bytes.size() < kRecordHeader) return HelloVerdict::kMore;
    const size_t size = size_t{bytes[3]} << 8 | bytes[4];
    if (size == 0 || size > kMaxRecord) return HelloVerdict::kRefused;
    const Bytes rest = bytes.subspan(kRecordHeader);
    const Bytes fragment = rest.first(std::min(size, rest.size()));
    message.insert(message.end(), fragment.begin(), fragment.end());
    const size_t whole = MessageSize(message);
    const bool more_than_one = whole > 0 && message.size() > whole;
    if ((!message.empty() && message[0] != kClientHello) || whole > kMaxHelloBytes || more_than_one)
      return HelloVerdict::kRefused;
    if (fragment.size() < size) return HelloVerdict::kMore;
    bytes = rest.subspan(size);
  }
}

}  // namespace evenkeel::link
