// Any bytes, cut in any way, give the same result as in one piece.
#include <cstddef>
#include <cstdint>
#include <cstdlib>

#include "loadgen/http_response.h"

namespace {

using Reader = evenkeel::loadgen::HttpResponseReader;

struct Outcome {
  Reader::Progress progress = Reader::Progress::kMore;
  int status = 0;
  std::string body;
};

Outcome ReadInPieces(std::string_view text, size_t piece) {
  Reader reader(/*keep_body=*/true);
  Outcome outcome;
  while (outcome.progress == Reader::Progress::kMore && !text.empty()) {
    std::string_view bytes = text.substr(0, piece);
    const size_t before = bytes.size();
    outcome.progress = reader.Feed(&bytes);
    text.remove_prefix(before - bytes.size());
  }
  if (outcome.progress == Reader::Progress::kMore) outcome.progress = reader.Ended();
  if (outcome.progress == Reader::Progress::kDone) {
    outcome.status = reader.status();
    outcome.body = reader.body();
  }
  return outcome;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size < 2 || size > (32 << 10)) return 0;
  const size_t piece = 1 + data[0] % 64;
  const std::string_view text(reinterpret_cast<const char*>(data) + 1, size - 1);
  const Outcome whole = ReadInPieces(text, text.size());
  const Outcome cut = ReadInPieces(text, piece);
  if (whole.progress != cut.progress || whole.status != cut.status || whole.body != cut.body)
    std::abort();
  return 0;
}
