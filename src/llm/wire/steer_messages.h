// How the daemon steers a language model's worker while it runs: threads, sequences side by side, the budget of prompts, slots and cells.
//
//   daemon → worker   kSteer: taken before the next step; slots and cells once nothing runs
//   worker → daemon   kSteered: what holds now; one for each kSteer, in order, and one when slots or cells changed
// Contract: decoders take any bytes and check every number. Thread-safety: thread-safe.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "core/clock.h"
#include "core/status.h"

namespace evenkeel {

struct LlmSteer {
  int32_t threads =
      0;  // of a step, 0 to 512; more than the worker has are those that it has; 0: no step
  int32_t running = 0;  // sequences side by side at most, 0 to 256; 0: as many as there are slots
  int32_t prompt_share_permille = 1000;  // of the budget of prompts beside answers, 1 to 100,000
  Duration answers{};       // a step of answers alone, as the load table has it; 0: not known
  Duration prompt_token{};  // of one prompt token; 0: not known
  int32_t slots = 0;        // 0 to 256; 0: as they are
  int64_t cells = 0;        // 0 to 2^30; 0: as they are
  bool operator==(const LlmSteer&) const = default;
};

struct LlmSteered {
  bool answer = true;  // to a kSteer; else slots and cells changed
  int32_t threads = 0;
  int32_t slots = 0;
  int64_t cells = 0;
};

std::string Encode(const LlmSteer& steer);
std::string Encode(const LlmSteered& steered);
// Error kInternal, naming the message.
Result<LlmSteer> DecodeSteer(std::string_view bytes);
Result<LlmSteered> DecodeSteered(std::string_view bytes);

}  // namespace evenkeel
