#include "access/bind_rule.h"

#include <arpa/inet.h>

#include <algorithm>
#include <string>

#include "core/format.h"

namespace evenkeel {

bool IsLoopbackAddress(std::string_view address) {
  const std::string text(address);
  in_addr v4{};
  if (::inet_pton(AF_INET, text.c_str(), &v4) == 1) return (ntohl(v4.s_addr) >> 24) == 127;
  in6_addr v6{};
  if (::inet_pton(AF_INET6, text.c_str(), &v6) != 1) return false;
  if (IN6_IS_ADDR_V4MAPPED(&v6)) return v6.s6_addr[12] == 127;
  return IN6_IS_ADDR_LOOPBACK(&v6);
}

Status CheckBind(std::string_view address, const BindFacts& facts) {
  if (facts.insecure || IsLoopbackAddress(address) || (facts.tls && facts.keys)) return {};
  std::string missing = facts.tls ? "" : "TLS is off";
  if (!facts.keys) {
    missing += missing.empty() ? "" : ", and ";
    missing += "no API key is needed (make one: evenkeel key create --name admin --scope manage)";
  }
  return InvalidArgument(
      "{} is reachable from outside, which takes TLS and API keys: {}. Put that right, listen on "
      "127.0.0.1, or say --insecure if the network is trusted",
      address, missing);
}

}  // namespace evenkeel
