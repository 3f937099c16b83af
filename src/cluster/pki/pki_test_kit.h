// An authority with nodes, for tests.
// Thread-safety: single-owner.
#pragma once

#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>
#include <string>

#include "cluster/pki/certificate_authority.h"
#include "cluster/pki/node_certificate.h"
#include "core/check.h"

namespace evenkeel::pki {

inline WallTime WallNow() {
  return std::chrono::floor<std::chrono::seconds>(std::chrono::system_clock::now());
}

// The value, or the end of the test program with the reason.
template <typename T>
T Must(Result<T> result) {
  if (!result.ok()) std::fprintf(stderr, "%s\n", result.status().ToString().c_str());
  EK_CHECK(result.ok());
  return std::move(*result);
}

struct TestCluster {
  explicit TestCluster(const std::string& id = "test")
      : authority(Must(CertificateAuthority::Make(id, WallNow()))) {}

  // Node `name`, reached at `addresses`, certified at `when`.
  NodeCertificate Node(const std::string& name,
                       std::vector<std::string> addresses = {"127.0.0.1", "localhost"},
                       WallTime when = WallNow()) const {
    const NewRequest made =
        Must(MakeSigningRequest({authority.cluster(), name, std::move(addresses)}));
    const SigningRequest request = Must(ReadSigningRequest(made.request_pem));
    return Must(NodeCertificate::Create(Must(authority.Sign(request, when)), made.key_pem));
  }

  CertificateAuthority authority;
};

class TestFolder {
 public:
  TestFolder() {
    std::string pattern = testing::TempDir() + "/pki_XXXXXX";
    EK_CHECK(::mkdtemp(pattern.data()) != nullptr);
    path = pattern;
  }
  ~TestFolder() { std::filesystem::remove_all(path); }
  TestFolder(const TestFolder&) = delete;
  TestFolder& operator=(const TestFolder&) = delete;

  std::string path;
};

}  // namespace evenkeel::pki
