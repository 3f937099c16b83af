// Looks into a TLS ClientHello before anything answers it: does the client speak TLS 1.3?
//
// A server that speaks 1.3 and gets such a hello agrees on 1.3 (RFC 8446, 4.1.1 and 4.2.1), so whoever answers only these never speaks less.
// Contract: takes what has come so far; the verdict on a beginning is kMore or that on the whole. Nothing else in the hello is judged: that is the
//   TLS library's work.
// Thread-safety: thread-safe.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

namespace evenkeel::link {

// Of the message; real ones are far below. Larger ones are refused.
inline constexpr size_t kMaxHelloBytes = 8 * 1024;

enum class HelloVerdict : uint8_t {
  kMore,     // its end has not come yet
  kTls13,    // a hello that offers 1.3
  kRefused,  // no hello, a broken one, or one that does not offer 1.3
};
HelloVerdict LookAtHello(std::span<const uint8_t> bytes);

}  // namespace evenkeel::link
