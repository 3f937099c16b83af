// Fuzzes what daemon and worker read of each other's frames: the first byte chooses the decoder, the rest is the frame.
#include <cstdint>
#include <string_view>

#include "core/check.h"
#include "llm/wire/kv_state.h"
#include "llm/wire/messages.h"
#include "llm/wire/state_messages.h"
#include "llm/wire/steer_messages.h"
#include "llm/wire/text_messages.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace evenkeel;
  if (size == 0) return 0;
  const std::string_view bytes(reinterpret_cast<const char*>(data + 1), size - 1);
  // What is accepted is written back as the same bytes, but for flags other than 1 and texts made printable.
  switch (data[0] % 14) {
    case 0: {
      const auto start = DecodeStart(bytes);
      if (start.ok()) EK_CHECK(Encode(*start).size() == bytes.size());
      break;
    }
    case 1: {
      const auto token = DecodeToken(bytes);
      if (token.ok()) EK_CHECK(Encode(*token).size() == bytes.size());
      break;
    }
    case 2: {
      const auto end = DecodeEnd(bytes);
      if (end.ok()) EK_CHECK(Encode(*end).size() <= bytes.size());
      break;
    }
    case 3: {
      const auto step = DecodeStep(bytes);
      if (step.ok()) EK_CHECK(Encode(*step) == bytes);
      break;
    }
    case 4: static_cast<void>(DecodeCancel(bytes)); break;
    case 5: {
      const auto text = DecodeText(bytes);
      if (text.ok()) EK_CHECK(Encode(*text) == bytes);
      break;
    }
    case 6: {
      const auto vector = DecodeVector(bytes);
      if (vector.ok()) EK_CHECK(Encode(*vector).size() <= bytes.size());
      break;
    }
    case 7: {
      const auto step = DecodeTextStep(bytes);
      if (step.ok()) EK_CHECK(Encode(*step) == bytes);
      break;
    }
    case 8: {
      const auto steer = DecodeSteer(bytes);
      if (steer.ok()) EK_CHECK(Encode(*steer) == bytes);
      break;
    }
    case 9: {
      const auto steered = DecodeSteered(bytes);
      if (steered.ok()) EK_CHECK(Encode(*steered) == bytes);
      break;
    }
    case 10: {
      const auto wanted = DecodeStateWanted(bytes);
      if (wanted.ok()) EK_CHECK(Encode(*wanted) == bytes);
      break;
    }
    case 11: {
      const auto piece = DecodeStatePiece(bytes);
      if (!piece.ok()) break;
      EK_CHECK(Encode(*piece) == bytes);
      StateAssembly assembly;
      const auto whole = assembly.Add(*piece);
      EK_CHECK(whole.ok() == (piece->offset == 0));
      if (whole.ok() && *whole) EK_CHECK(assembly.Take().bytes == piece->bytes);
      break;
    }
    case 12: {
      const auto end = DecodeStateEnd(bytes);
      if (end.ok()) EK_CHECK(Encode(*end).size() <= bytes.size());
      break;
    }
    // A state of so many tokens as the next byte says. What passes is as long as its sizes say: one byte less does not.
    default: {
      if (bytes.empty()) break;
      const size_t tokens = static_cast<unsigned char>(bytes[0]);
      const std::string_view state = bytes.substr(1);
      if (CheckKvState(state, tokens).ok())
        EK_CHECK(!CheckKvState(state.substr(0, state.size() - 1), tokens).ok());
    }
  }
  return 0;
}
