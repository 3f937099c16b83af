// gzip and deflate bodies, with a bound on what they may unfold to.
// Thread-safety: Unfolder is single-owner; the functions are thread-safe.
#pragma once

#include <cstddef>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <utility>

#include "core/status.h"

namespace evenkeel {

enum class Coding : uint8_t { kIdentity, kGzip, kDeflate };

// Memory that grows without copying: by remapping its pages, however large it is.
class GrowingBytes {
 public:
  GrowingBytes() = default;
  ~GrowingBytes() { Reset(); }
  GrowingBytes(GrowingBytes&& from) noexcept
      : data_(std::exchange(from.data_, nullptr)), capacity_(std::exchange(from.capacity_, 0)) {}
  GrowingBytes& operator=(GrowingBytes&& from) noexcept {
    std::swap(data_, from.data_);
    std::swap(capacity_, from.capacity_);
    return *this;
  }
  // REQUIRES: capacity > capacity(). False: out of memory, and nothing has changed.
  bool Grow(size_t capacity);
  void Reset();
  std::byte* data() const { return data_; }
  size_t capacity() const { return capacity_; }

 private:
  std::byte* data_ = nullptr;
  size_t capacity_ = 0;
};

// Unfolds one body in steps of bounded work.
class Unfolder {
 public:
  // `data` outlives it. REQUIRES: coding is not kIdentity.
  Unfolder(std::span<const std::byte> data, Coding coding, size_t max_bytes);
  ~Unfolder();
  Unfolder(const Unfolder&) = delete;
  Unfolder& operator=(const Unfolder&) = delete;

  // Reads at most 16 KiB and writes at most 64 KiB (some 0.2 ms). True: that was the end.
  // Not called again after the end or an error.
  // Errors: kInvalidArgument (broken, cut, or followed by other bytes), kTooLarge (past max_bytes),
  // kInternal (out of memory).
  Result<bool> Step();
  size_t size() const { return size_; }  // unfolded so far; at most max_bytes
  std::span<const std::byte> plain() const { return {plain_.data(), size_}; }
  // plain()'s memory; the Unfolder is done with.
  GrowingBytes Take() { return std::move(plain_); }

 private:
  struct Zlib;
  bool MakeRoom();

  const size_t max_bytes_;
  std::span<const std::byte> left_;
  std::unique_ptr<Zlib> zlib_;  // null: it could not be set up
  GrowingBytes plain_;
  size_t size_ = 0;
};

// All steps at once. Errors: as Unfolder.
Result<std::string> Inflate(std::span<const std::byte> data, Coding coding, size_t max_bytes);
// REQUIRES: coding is not kIdentity. Fast rather than small.
Result<std::string> Deflate(std::string_view data, Coding coding);

}  // namespace evenkeel
