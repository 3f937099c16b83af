// Any bytes as a request's head, chunks or compressed body: no crash, and what is accepted stays
// within its bounds.
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <span>
#include <string>
#include <string_view>

#include "core/parse.h"
#include "net/gzip.h"
#include "net/host_check.h"
#include "net/http_chunks.h"
#include "net/http_head.h"

namespace {

constexpr size_t kMaxBody = 4096;

void Require(bool condition) {
  if (!condition) std::abort();
}

void FeedChunks(std::string_view text) {
  // In one piece and byte by byte: the same result.
  evenkeel::ChunkedBody whole(kMaxBody), pieces(kMaxBody);
  std::string a, b;
  evenkeel::HttpError error_a, error_b;
  const size_t used_a = whole.Feed(text, &a, &error_a);
  size_t used_b = 0;
  while (used_b < text.size() && error_b.ok() && !pieces.done()) {
    used_b += pieces.Feed(text.substr(used_b, 1), &b, &error_b);
  }
  Require(error_a.status == error_b.status && whole.done() == pieces.done());
  Require(a.size() <= kMaxBody && used_a <= text.size());
  if (error_a.ok()) Require(a == b && used_a == used_b);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string text(reinterpret_cast<const char*>(data), size);
  size_t scanned = 0;
  const size_t end = evenkeel::FindHeadEnd(text, &scanned);
  size_t rest = 0;
  if (end > 0) {
    evenkeel::HttpHead head;
    const evenkeel::HttpError error =
        evenkeel::ParseHttpHead(std::string_view(text).substr(0, end), 100, &head);
    if (error.ok()) {
      Require(head.fields.size() <= 100 && !(head.chunked && head.has_length));
      (void)evenkeel::CheckHostAndOrigin(head, true, {"name"});
      (void)evenkeel::ListNames(head.Find("accept-encoding"), "gzip");
      rest = end;
    }
    std::string plain;
    (void)evenkeel::PercentDecode(head.path, &plain);
    std::string quoted;
    evenkeel::AppendJsonString(text, &quoted);
    Require(evenkeel::IsUtf8(quoted));
  }
  FeedChunks(std::string_view(text).substr(rest));
  for (const evenkeel::Coding coding : {evenkeel::Coding::kGzip, evenkeel::Coding::kDeflate}) {
    const auto plain =
        evenkeel::Inflate(std::as_bytes(std::span(text)).subspan(rest), coding, kMaxBody);
    Require(!plain.ok() || plain->size() <= kMaxBody);
  }
  return 0;
}
