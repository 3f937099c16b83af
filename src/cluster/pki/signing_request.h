// A node asks to be certified: the node's side makes a key and a request, the authority's side reads one that may come from anybody.
//
// Contract: what is read is well-formed, signed by the key that it is for, and asks for names that CheckIdentity() allows. Whether the asker
//   may have that name is for the caller to decide, before CertificateAuthority::Sign().
// Errors: kInvalidArgument, with what was expected; kTooLarge.
// Thread-safety: thread-safe.
#pragma once

#include <string>
#include <string_view>

#include "cluster/pki/node_identity.h"
#include "core/status.h"
#include "net/openssl.h"

namespace evenkeel::pki {

struct NewRequest {
  std::string key_pem;      // stays with the node
  std::string request_pem;  // goes to the authority
};
Result<NewRequest> MakeSigningRequest(const NodeIdentity& identity);

struct SigningRequest {
  NodeIdentity identity;
  openssl::Key key;  // the public one
};
Result<SigningRequest> ReadSigningRequest(std::string_view pem);

}  // namespace evenkeel::pki
