// What an engine has computed of a sequence, as a value that another process with the same model goes on from (B8).
//
// Use for: an answer that moves to another server. Not for: the tokens themselves, which are enough to compute it anew.
// Units: bytes, tokens. Thread-safety: a value.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

namespace evenkeel {

// Larger ones are not sent: each is held in memory whole, at both ends.
inline constexpr size_t kMostStateBytes = size_t{256} << 20;
inline constexpr size_t kMostStateTokens = size_t{1} << 22;
inline constexpr size_t kLongestStateKind = 200;  // printable ASCII

struct SequenceState {
  std::string kind;             // engine and build, cache, context: only equal ones fit one another
  std::vector<int32_t> tokens;  // that it is the state of, from the sequence's first on
  std::string bytes;            // the engine's own; worth nothing until they were checked
};

}  // namespace evenkeel
