// Refuses requests that a web page in the user's browser could have been tricked into sending (DNS
// rebinding, cross-site).
//
// Contract: a Host that is an IP address, "localhost" or a configured name passes; an Origin must
//   be the Host's own.
// Thread-safety: thread-safe.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "net/http_head.h"

namespace evenkeel {

// `check_host` is for loopback listeners, where only local names make sense.
HttpError CheckHostAndOrigin(const HttpHead& head, bool check_host,
                             const std::vector<std::string>& allowed_hosts);

}  // namespace evenkeel
