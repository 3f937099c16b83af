// A certificate chain and its key, read from PEM files and checked before anything uses them.
//
// Contract: every error names the file and what is wrong with it. A certificate that has expired, or is not valid yet, is no error here: who
//   uses it says so (see CertificateFacts).
// Errors: kNotFound (a file cannot be opened), kInvalidArgument (no PEM, encrypted, too large, or the key is another certificate's).
// Units: certificate times are wall-clock seconds. Thread-safety: thread-safe; blocks on the disk.
#pragma once

#include <chrono>
#include <string>
#include <string_view>
#include <vector>

#include "core/status.h"
#include "net/openssl.h"

namespace evenkeel {

struct TlsPairFiles {
  std::string certificate;  // PEM: the server's own first, then those that signed it
  std::string key;          // PEM, not encrypted
  bool empty() const { return certificate.empty() && key.empty(); }
};

struct TlsPair {
  std::vector<openssl::Certificate> chain;  // at least one; the first is the server's own
  openssl::Key key;                         // the first certificate's
};

Result<TlsPair> ReadTlsPair(const TlsPairFiles& files);

// The certificates of a PEM file, at least one, at most `most`.
Result<std::vector<openssl::Certificate>> ReadCertificates(const std::string& path,
                                                           size_t most = 1000);
// The same from text; `where` is for messages.
Result<std::vector<openssl::Certificate>> ParseCertificates(std::string_view pem,
                                                            std::string_view where, size_t most);

// What people ask of a certificate.
struct CertificateFacts {
  std::string subject;             // "CN = a.example"
  std::vector<std::string> names;  // DNS names and addresses that it is for
  std::chrono::sys_seconds not_before, not_after;
};
CertificateFacts FactsOf(X509* certificate);

// Whether everybody on this machine may read the file, or write it. A group may: that is how a server that is not root gets at a key of root's. False when
// there is none.
bool OpenToOthers(const std::string& path);

// Changes with every change of the file: device, inode, size and times. Empty when there is none.
std::string FileStamp(const std::string& path);

}  // namespace evenkeel
