// How the vectors of a text's tokens become one: the words of manifests and messages, and the numbers of GGUF files.
//
// Thread-safety: thread-safe.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string_view>

namespace evenkeel {

// As `*.pooling_type` in a GGUF file.
enum class Pooling : uint8_t {
  kNone = 0,  // no vector of the whole
  kMean = 1,
  kCls = 2,   // the first token's
  kLast = 3,  // the last token's
  kRank = 4,  // a score of a pair of texts, by the file's classification head
};

inline constexpr std::array<std::string_view, 5> kPoolingNames = {"none", "mean", "cls", "last",
                                                                  "rank"};

inline std::string_view NameOf(Pooling pooling) {
  return kPoolingNames[static_cast<size_t>(pooling)];
}

inline std::optional<Pooling> PoolingOf(std::string_view name) {
  for (size_t i = 0; i < kPoolingNames.size(); ++i) {
    if (kPoolingNames[i] == name) return static_cast<Pooling>(i);
  }
  return std::nullopt;
}

// It gives vectors.
inline bool Embeds(Pooling pooling) {
  return pooling == Pooling::kMean || pooling == Pooling::kCls || pooling == Pooling::kLast;
}

}  // namespace evenkeel
