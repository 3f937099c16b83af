// Fuzzes what a stranger sends to the desk where nodes join, and what a new node is answered. What is accepted is written again as the same.
#include <cstdint>
#include <string>
#include <string_view>

#include "cluster/join/join_messages.h"
#include "cluster/pki/node_identity.h"
#include "core/check.h"
#include "core/parse.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace evenkeel;  // NOLINT
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  if (const auto request = ParseJoinRequest(text); request.ok()) {
    const std::string written = WriteJoinRequest(*request);
    const auto again = ParseJoinRequest(written);
    EK_CHECK(again.ok() && again->token == request->token && WriteJoinRequest(*again) == written);
  } else {
    EK_CHECK(IsUtf8(request.status().message()));
  }
  if (const auto answer = ParseJoinAnswer(text); answer.ok()) {
    EK_CHECK(answer->nodes.size() <= kMostNodes);
    for (const NodeAddress& node : answer->nodes) {
      EK_CHECK(pki::CheckNodeName(node.name).ok());
      EK_CHECK(ParseHostPort(node.address).ok());
    }
    const std::string written = WriteJoinAnswer(*answer);
    const auto again = ParseJoinAnswer(written);
    EK_CHECK(again.ok() && again->nodes == answer->nodes && WriteJoinAnswer(*again) == written);
  } else {
    EK_CHECK(IsUtf8(answer.status().message()));
  }
  return 0;
}
