// One streamed answer of an OpenAI-compatible server: which tokens came when.
//
// A token is an event with text (of a completion or a chat message, reasoning and tool calls included). What a server holds back and tells
//   with the next one counts with that; the whole count is the server's own `usage`, where it says it.
// Contract: Feed() takes the body in whatever pieces it comes; false: it is no such stream (`error` says why), or the stream says that the
//   answer failed. Complete once "[DONE]" came. Any bytes are taken; memory is bounded by kMostTokens and the reader's limit of an event.
// Units: times are offsets from the start of the run, as Feed() is given them.
// Thread-safety: single-owner.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "core/clock.h"
#include "net/sse_reader.h"

namespace evenkeel::loadgen {

class TokenStream {
 public:
  static constexpr size_t kMostTokens = size_t{1} << 20;

  bool Feed(std::string_view bytes, Duration now);

  bool complete() const { return done_ && error_.empty(); }
  const std::string& error() const { return error_; }
  std::optional<Duration> first() const { return first_; }     // when the first token came
  Duration last() const { return last_; }                      // when the last one came
  const std::vector<Duration>& gaps() const { return gaps_; }  // between one token and the next
  uint64_t seen() const { return seen_; }                      // events with text
  // As the server counts them; without its word: what was seen, and 0.
  uint64_t output_tokens() const { return output_.value_or(seen_); }
  uint64_t prompt_tokens() const { return prompt_; }
  uint64_t cached_tokens() const { return cached_; }  // of the prompt, not computed anew
  // Mean time between tokens; zero with fewer than two.
  Duration MeanGap() const;

 private:
  void OnEvent(std::string_view data);

  SseReader reader_;
  Duration now_{}, last_{};
  std::optional<Duration> first_;
  std::vector<Duration> gaps_;
  uint64_t seen_ = 0, prompt_ = 0, cached_ = 0;
  std::optional<uint64_t> output_;
  bool done_ = false;
  std::string error_;
};

}  // namespace evenkeel::loadgen
