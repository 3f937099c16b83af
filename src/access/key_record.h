// One API key as it is kept: everything but the key itself.
//
// Units: times are seconds since the Unix epoch, by the wall clock.
// Thread-safety: a value.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "access/api_key.h"
#include "access/scope.h"

namespace evenkeel {

struct KeyRecord {
  std::string id;             // without the prefix
  std::string name;           // for people; one key in force a name
  std::vector<Scope> scopes;  // at least one
  KeyDigest digest{};
  int64_t created_s = 0;
  int64_t expires_s = 0;  // 0: never
  int64_t revoked_s = 0;  // 0: it is not

  bool revoked() const { return revoked_s != 0; }
  bool expired(int64_t now_s) const { return expires_s != 0 && now_s >= expires_s; }
};

}  // namespace evenkeel
