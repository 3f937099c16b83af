// Any bytes as a join token, and as a node's signing request: no crash, and one text for each token.
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string>

#include "cluster/pki/join_token.h"
#include "cluster/pki/signing_request.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace evenkeel::pki;
  const std::string text(reinterpret_cast<const char*>(data), size);
  if (const auto token = ParseJoinToken(text); token.ok()) {
    const std::string written = FormatJoinToken(*token);
    const auto again = ParseJoinToken(written);
    if (!again.ok() || again->secret != token->secret || again->authority != token->authority)
      std::abort();
    if (size < written.size()) std::abort();
  }
  if (const auto request = ReadSigningRequest(text); request.ok()) {
    if (!CheckIdentity(request->identity).ok()) std::abort();
  }
  return 0;
}
