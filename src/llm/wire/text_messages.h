// Frames about texts that become vectors or scores: daemon to worker a text's tokens, back its vector, and figures.
//
//   daemon → worker   kText (and kCancel of messages.h, whose ids these share)
//   worker → daemon   kVector, kTextStep
// Contract: decoders take any bytes: every count and number is checked, and what is told of a vector is finite. Token ids are checked by
//   whoever indexes with them. Thread-safety: thread-safe.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "core/clock.h"
#include "core/status.h"

namespace evenkeel {

// A vector has no more numbers than this.
inline constexpr size_t kLongestVector = size_t{1} << 20;

struct TextStart {
  uint64_t id = 0;              // not 0
  std::vector<int32_t> tokens;  // at least one
  int32_t priority = 8;         // 1 (first) to 16 (last)
};

struct TextEnd {
  uint64_t id = 0;
  Status status;
  std::vector<float> values;  // a vector, or one score; empty unless status.ok()
  Duration queue{};           // arrival to the first step that carried it
  Duration compute{};         // from there to its end
};

// For figures, after each step over texts, and when nothing is left to step. Then `took` is zero.
struct TextReport {
  int32_t tokens = 0;                // of this step
  int32_t texts = 0;                 // that had a share in it
  int32_t running = 0, waiting = 0;  // after it
  int64_t bytes = 0;  // what the context for texts holds: cache and the rows of a step
  Duration took{};
};

std::string Encode(const TextStart& start);
std::string Encode(const TextEnd& end);
std::string Encode(const TextReport& report);

// Error kInternal, naming the message.
Result<TextStart> DecodeText(std::string_view bytes);
Result<TextEnd> DecodeVector(std::string_view bytes);
Result<TextReport> DecodeTextStep(std::string_view bytes);

}  // namespace evenkeel
