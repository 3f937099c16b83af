#include "llm/wire/steer_messages.h"

#include "core/format.h"
#include "llm/wire/byte_codec.h"

namespace evenkeel {
namespace {

constexpr int32_t kMostThreads = 512;
constexpr int32_t kMostSlots = 256;
constexpr int32_t kMostShare = 100'000;
constexpr int64_t kMostCells = int64_t{1} << 30;

template <typename T>
T Within(ByteReader& in, T lo, T hi) {
  const T value = in.Number<T>();
  if (value >= lo && value <= hi) return value;
  in.Fail();
  return lo;
}

}  // namespace

std::string Encode(const LlmSteer& steer) {
  ByteWriter out;
  for (const int32_t number :
       {steer.threads, steer.running, steer.prompt_share_permille, steer.slots})
    out.Number(number);
  for (const int64_t number :
       {int64_t{steer.answers.count()}, int64_t{steer.prompt_token.count()}, steer.cells}) {
    out.Number(number);
  }
  return out.Take();
}

Result<LlmSteer> DecodeSteer(std::string_view bytes) {
  ByteReader in(bytes);
  LlmSteer steer;
  steer.threads = Within<int32_t>(in, 0, kMostThreads);
  steer.running = Within<int32_t>(in, 0, kMostSlots);
  steer.prompt_share_permille = Within<int32_t>(in, 1, kMostShare);
  steer.slots = Within<int32_t>(in, 0, kMostSlots);
  steer.answers = Duration(Within<int64_t>(in, 0, INT64_MAX));
  steer.prompt_token = Duration(Within<int64_t>(in, 0, INT64_MAX));
  steer.cells = Within<int64_t>(in, 0, kMostCells);
  if (!in.at_end()) return Internal("a message 'steer' that breaks its rules");
  return steer;
}

std::string Encode(const LlmSteered& steered) {
  ByteWriter out;
  out.Number(static_cast<uint8_t>(steered.answer));
  out.Number(steered.threads);
  out.Number(steered.slots);
  out.Number(steered.cells);
  return out.Take();
}

Result<LlmSteered> DecodeSteered(std::string_view bytes) {
  ByteReader in(bytes);
  LlmSteered steered;
  steered.answer = Within<uint8_t>(in, 0, 1) != 0;
  steered.threads = Within<int32_t>(in, 0, kMostThreads);
  steered.slots = Within<int32_t>(in, 0, kMostSlots);
  steered.cells = Within<int64_t>(in, 0, kMostCells);
  if (!in.at_end()) return Internal("a message 'steered' that breaks its rules");
  return steered;
}

}  // namespace evenkeel
