// Numbers and texts to bytes and back, for messages between our own processes (one machine, so in its byte order).
//
// Contract: a reader never reads past its bytes: after the first field that is not there, or is larger than allowed, ok() is false and all
//   further fields are zero or empty. Thread-safety: thread-compatible.
#pragma once

#include <cstdint>
#include <cstring>
#include <string>
#include <string_view>
#include <type_traits>
#include <vector>

#include "core/clock.h"

namespace evenkeel {

// Of one step, or of anything that a sequence waited for; so that sums of what a process tells stay numbers.
inline constexpr Duration kLongestTime = std::chrono::hours(24);

// What another process wrote, for answers and logs: printable ASCII, at most 1000 bytes, whatever it wrote.
inline std::string PrintableText(std::string text) {
  constexpr size_t kMost = 1000;
  if (text.size() > kMost) text.resize(kMost);
  for (char& c : text) {
    if (c < 0x20 || c > 0x7e) c = c == '\n' || c == '\t' ? ' ' : '?';
  }
  return text;
}

class ByteWriter {
 public:
  template <typename T>
  void Number(T value) {
    static_assert(std::is_arithmetic_v<T>);
    bytes_.append(reinterpret_cast<const char*>(&value), sizeof value);
  }
  void Text(std::string_view text) {
    Number(static_cast<uint32_t>(text.size()));
    bytes_ += text;
  }
  void Tokens(const std::vector<int32_t>& tokens) {
    Number(static_cast<uint32_t>(tokens.size()));
    bytes_.append(reinterpret_cast<const char*>(tokens.data()), tokens.size() * sizeof(int32_t));
  }
  std::string Take() { return std::move(bytes_); }

 private:
  std::string bytes_;
};

class ByteReader {
 public:
  explicit ByteReader(std::string_view bytes) : bytes_(bytes) {}

  bool ok() const { return ok_; }
  bool at_end() const { return ok_ && bytes_.empty(); }

  template <typename T>
  T Number() {
    static_assert(std::is_arithmetic_v<T> && !std::is_same_v<T, bool>);
    T value{};
    if (!Has(sizeof value)) return value;
    std::memcpy(&value, bytes_.data(), sizeof value);
    bytes_.remove_prefix(sizeof value);
    return value;
  }
  bool Flag() { return Number<uint8_t>() != 0; }
  std::string Text() {
    const auto size = Number<uint32_t>();
    if (!Has(size)) return {};
    std::string text(bytes_.substr(0, size));
    bytes_.remove_prefix(size);
    return text;
  }
  std::vector<int32_t> Tokens() {
    const size_t count = Count(sizeof(int32_t));
    std::vector<int32_t> tokens(count);
    if (count > 0) std::memcpy(tokens.data(), bytes_.data(), count * sizeof(int32_t));
    bytes_.remove_prefix(count * sizeof(int32_t));
    return tokens;
  }
  // So many bytes, where they lie; empty if they are not there.
  std::string_view Bytes(size_t size) {
    if (!Has(size)) return {};
    const std::string_view bytes = bytes_.substr(0, size);
    bytes_.remove_prefix(size);
    return bytes;
  }
  // A number of elements of at least `least_bytes` each: more than fit into what is left is an error.
  size_t Count(size_t least_bytes) {
    const auto count = Number<uint32_t>();
    return Has(size_t{count} * least_bytes) ? count : 0;
  }
  void Fail() {
    ok_ = false;
    bytes_ = {};
  }

 private:
  bool Has(size_t size) {
    if (ok_ && size <= bytes_.size()) return true;
    Fail();
    return false;
  }

  std::string_view bytes_;
  bool ok_ = true;
};

// From 0 to kLongestTime.
inline Duration ReadDuration(ByteReader& in) {
  const auto ns = in.Number<int64_t>();
  if (ns >= 0 && ns <= kLongestTime.count()) return Duration(ns);
  in.Fail();
  return Duration::zero();
}

}  // namespace evenkeel
