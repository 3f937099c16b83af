// gzip and deflate bodies, with a bound on what they may unfold to.
// Thread-safety: thread-safe.
#pragma once

#include <cstddef>
#include <span>
#include <string>
#include <string_view>

#include "core/status.h"

namespace evenkeel {

enum class Coding : uint8_t { kIdentity, kGzip, kDeflate };

// Appends nothing past `max_bytes`. Errors: kInvalidArgument (broken, cut, or followed by other
// bytes), kTooLarge.
Result<std::string> Inflate(std::span<const std::byte> data, Coding coding, size_t max_bytes);
// REQUIRES: coding is not kIdentity. Fast rather than small.
Result<std::string> Deflate(std::string_view data, Coding coding);

}  // namespace evenkeel
