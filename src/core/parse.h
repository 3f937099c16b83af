// Numbers, durations and sizes as people write them in settings and flags: "2ms", "1.5s", "256MiB".
//
// Contract: the whole text must match, without blanks; nothing is guessed, wrapped or silently
// rounded away. Format*() give a text that the matching Parse*() turns back into the same value.
// Errors are kInvalidArgument and say what was expected and what came; the caller adds where it
// came from (Status::Annotate). Thread-safety: thread-safe.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "core/clock.h"
#include "core/status.h"

namespace evenkeel {

// Decimal, an optional '-', no other sign; lo <= value <= hi.
Result<int64_t> ParseInt(std::string_view text, int64_t lo, int64_t hi);

// Decimal, with a fraction or an exponent where there is one, no sign; finite, lo <= value <= hi. REQUIRES: lo >= 0.
Result<double> ParseNumber(std::string_view text, double lo, double hi);

// A decimal number and one of ns, us (or the micro sign's), ms, s, m, h; "0" needs no unit. Never
// negative. A part below one nanosecond ("0.5ns") is an error.
Result<Duration> ParseDuration(std::string_view text);
// The largest unit that needs no fraction: "1500ms", "2s", "0s". REQUIRES: d >= 0.
std::string FormatDuration(Duration d);

// A decimal number and one of B, KiB, MiB, GiB, TiB, kB, MB, GB, TB; no unit means bytes. A
// fraction of a byte is an error.
Result<int64_t> ParseBytes(std::string_view text);
// The largest binary unit that needs no fraction: "256MiB", "1500B". REQUIRES: bytes >= 0.
std::string FormatBytes(int64_t bytes);

// True when `text` is well-formed UTF-8: no overlong forms, surrogates or values past U+10FFFF.
bool IsUtf8(std::string_view text);

// `text` as a quoted excerpt for a message: at most `limit` bytes, unprintable and non-ASCII bytes
// escaped.
std::string Excerpt(std::string_view text, size_t limit = 64);

}  // namespace evenkeel
