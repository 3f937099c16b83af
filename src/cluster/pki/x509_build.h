// Small steps of making keys and certificates. Internal to cluster/pki.
//
// Thread-safety: thread-safe.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "core/status.h"
#include "net/openssl.h"

namespace evenkeel::pki {

// P-256: what every TLS library signs and checks fast.
Result<openssl::Key> NewKey();
bool IsP256(const EVP_PKEY* key);

std::string KeyPem(EVP_PKEY* key);
std::string CertificatePem(X509* certificate);
// Error kInvalidArgument; `where` is for messages.
Result<openssl::Key> ParseKey(std::string_view pem, std::string_view where);

// "O = cluster, CN = name" is all that our subjects have.
bool SetSubject(X509_NAME* name, std::string_view cluster, std::string_view common_name);
struct Subject {
  std::string cluster, common_name;
};
// Error kInvalidArgument: not exactly one of each, and nothing else.
Result<Subject> ReadSubject(const X509_NAME* name);

// Names for subjectAltName, DNS names first. REQUIRES: every address is an IP address or a host name. Null when memory is out.
openssl::Names MakeNames(const std::vector<std::string>& dns_names,
                         const std::vector<std::string>& addresses);
struct NamesRead {
  std::vector<std::string> dns, ip;
  bool others = false;  // there are names of other kinds
};
NamesRead ReadNames(const GENERAL_NAMES* names);

}  // namespace evenkeel::pki
