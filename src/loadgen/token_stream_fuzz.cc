// Any bytes, cut in any way, give the same tokens as in one piece.
#include <cstddef>
#include <cstdint>
#include <cstdlib>

#include "loadgen/token_stream.h"

namespace {

using evenkeel::loadgen::TokenStream;

void Read(std::string_view text, size_t piece, TokenStream* stream) {
  while (!text.empty()) {
    const std::string_view bytes = text.substr(0, piece);
    text.remove_prefix(bytes.size());
    if (!stream->Feed(bytes, {})) return;
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size < 2 || size > (32 << 10)) return 0;
  const size_t piece = 1 + data[0] % 64;
  const std::string_view text(reinterpret_cast<const char*>(data) + 1, size - 1);
  TokenStream whole, cut;
  Read(text, text.size(), &whole);
  Read(text, piece, &cut);
  if (whole.complete() != cut.complete() || whole.error() != cut.error() ||
      whole.seen() != cut.seen() || whole.output_tokens() != cut.output_tokens() ||
      whole.gaps().size() != cut.gaps().size())
    std::abort();
  return 0;
}
