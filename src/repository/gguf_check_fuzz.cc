// Fuzzes the check of GGUF files, metadata and tensor table with all that they mean.
#include <cstdint>
#include <string_view>

#include "core/check.h"
#include "core/parse.h"
#include "repository/gguf_check.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view bytes(reinterpret_cast<const char*>(data), size);
  const evenkeel::Result<evenkeel::GgufFacts> facts = evenkeel::CheckGgufBytes(bytes);
  if (!facts.ok()) {
    EK_CHECK(!facts.status().message().empty());
    EK_CHECK(evenkeel::IsUtf8(facts.status().message()));
    return 0;
  }
  // What passes is safe to divide by and to show.
  EK_CHECK(facts->blocks >= 1 && facts->context_tokens >= 1 && facts->embedding >= 1);
  EK_CHECK(facts->vocabulary >= 1 && facts->kv_bytes_per_token >= 0);
  EK_CHECK(facts->weight_bytes >= 1 && facts->weight_bytes <= facts->file_bytes);
  EK_CHECK(evenkeel::IsUtf8(facts->name) && evenkeel::IsUtf8(facts->licence));
  return 0;
}
