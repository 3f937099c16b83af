// Where a server may listen: beyond loopback only with TLS and API keys, unless somebody said --insecure.
//
// Thread-safety: pure.
#pragma once

#include <string_view>

#include "core/status.h"

namespace evenkeel {

// 127.0.0.0/8, ::1, and the former as IPv6 (::ffff:127.0.0.1). False for what is no address.
bool IsLoopbackAddress(std::string_view address);

struct BindFacts {
  bool tls = false;       // what is sent cannot be read or changed on the way
  bool keys = false;      // callers need a key
  bool insecure = false;  // --insecure
};

// Error kInvalidArgument: names the address, what is missing, and what to do.
Status CheckBind(std::string_view address, const BindFacts& facts);

}  // namespace evenkeel
