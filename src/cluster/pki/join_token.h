// What an operator carries to a new node so that it may join, once and soon: "ekj_" and 88 letters.
//
// A token holds the SHA-256 of the authority's certificate, by which the new node knows the cluster before it trusts anything, and a secret, by which
// the cluster knows that the node was invited.
// Contract: Parse() takes exactly what Format() gives (upper case too, and blanks around it), and says what is wrong with anything else.
// Thread-safety: thread-safe.
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <string_view>

#include "cluster/pki/certificate_authority.h"
#include "core/status.h"

namespace evenkeel::pki {

struct JoinToken {
  Sha256 authority{};
  std::array<uint8_t, 20> secret{};
};

std::string FormatJoinToken(const JoinToken& token);
// Error kInvalidArgument: which letter, which length, or that it was mistyped. The message never holds the token.
Result<JoinToken> ParseJoinToken(std::string_view text);

// A new node's check before it trusts an authority. Error kUnauthenticated: it is not the one that made the token.
Status CheckAuthority(const JoinToken& token, std::string_view authority_pem);

}  // namespace evenkeel::pki
