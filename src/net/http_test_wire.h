// What the HTTP server's tests run over: plain TCP, TLS 1.2 and TLS 1.3. All of it must hold over each.
// Thread-safety: main thread only.
#pragma once

#include <gtest/gtest.h>

#include <memory>
#include <string>

#include "core/check.h"
#include "net/http_test_client.h"
#include "net/tls_context.h"
#include "net/tls_test_pair.h"

namespace evenkeel {

enum class Wire { kPlain, kTls12, kTls13 };

inline std::string NameOfWire(const testing::TestParamInfo<Wire>& info) {
  if (info.param == Wire::kPlain) return "Plain";
  return info.param == Wire::kTls12 ? "Tls12" : "Tls13";
}
inline auto AllWires() { return testing::Values(Wire::kPlain, Wire::kTls12, Wire::kTls13); }

inline int TlsVersionOf(Wire wire) {
  if (wire == Wire::kPlain) return 0;
  return wire == Wire::kTls12 ? TLS1_2_VERSION : TLS1_3_VERSION;
}

// What a listener for that wire is given: null for plain.
inline std::shared_ptr<TlsServerContext> TlsForWire(Wire wire) {
  if (wire == Wire::kPlain) return nullptr;
  static const TlsTestPair pair;
  Result<std::unique_ptr<TlsServerContext>> tls = TlsServerContext::Load(pair.files());
  EK_CHECK(tls.ok());
  return std::move(*tls);
}

}  // namespace evenkeel
