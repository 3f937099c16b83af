// Fuzzes what is read of the prompt process's answers and of the two load messages, all JSON: the first byte chooses the decoder. The prompt
// process works on foreign text, and what it answers may be what that text made of it.
#include <cstdint>
#include <string_view>

#include "core/check.h"
#include "llm/wire/load_messages.h"
#include "llm/wire/prompt_messages.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace evenkeel;
  if (size == 0) return 0;
  const std::string_view bytes(reinterpret_cast<const char*>(data + 1), size - 1);
  switch (data[0] % 6) {
    case 0: static_cast<void>(DecodePrepared(bytes)); break;
    case 1: static_cast<void>(DecodeParsed(bytes)); break;
    case 2: {
      const auto tokenised = DecodeTokenised(bytes);
      if (tokenised.ok()) EK_CHECK(tokenised->sizes.size() == tokenised->rows.size());
      break;
    }
    case 3: {
      const auto failure = DecodePromptFailure(bytes);
      if (failure.ok()) EK_CHECK(!failure->status.ok());
      break;
    }
    case 4: {
      const auto load = DecodeLlmLoad(bytes);
      if (!load.ok()) break;
      const auto again = DecodeLlmLoad(Encode(*load));
      EK_CHECK(again.ok() && Encode(*again) == Encode(*load));
      break;
    }
    default: {
      const auto loaded = DecodeLlmLoaded(bytes);
      if (!loaded.ok()) break;
      const auto again = DecodeLlmLoaded(Encode(*loaded));
      EK_CHECK(again.ok() && Encode(*again) == Encode(*loaded));
    }
  }
  return 0;
}
