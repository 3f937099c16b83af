// Fuzzes what strangers send as a credential, and the texts of scopes: nothing but a key that was made gets in.
#include <cstdint>
#include <string_view>

#include "access/authorizer.h"
#include "core/check.h"
#include "core/parse.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace evenkeel;  // NOLINT
  static const auto authorizer = Authorizer::Open("/nonexistent/api_keys.db", AuthMode::kRequired);
  EK_CHECK(authorizer.ok());
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  Authorization authorization;
  authorization.Add(text);
  const Status status = (*authorizer)->Identify(authorization).CheckKey();
  EK_CHECK(status.code() == Code::kUnauthenticated);
  EK_CHECK(IsUtf8(status.message()));

  if (const std::string_view id = KeyIdOf(text); !id.empty()) EK_CHECK(IsKeyId(id));
  const Result<std::vector<Scope>> scopes = ParseScopes(text);
  EK_CHECK(scopes.ok() || IsUtf8(scopes.status().message()));
  if (scopes.ok()) EK_CHECK(ToString(*scopes) == text);
  return 0;
}
