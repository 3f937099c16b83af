#include "cluster/pki/node_identity.h"

#include <arpa/inet.h>
#include <openssl/rand.h>

#include <algorithm>
#include <array>
#include <cstdint>

#include "cluster/pki/base32.h"
#include "core/check.h"
#include "core/format.h"
#include "core/parse.h"

namespace evenkeel::pki {
namespace {

bool IsLabelLetter(char c) { return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-'; }

bool IsLabel(std::string_view text, size_t most) {
  return !text.empty() && text.size() <= most && std::ranges::all_of(text, IsLabelLetter) &&
         text.front() != '-' && text.back() != '-';
}

bool IsIpAddress(std::string_view text) {
  const std::string copy(text);
  in6_addr address{};
  return copy.size() == text.size() && copy.find('\0') == std::string::npos &&
         (::inet_pton(AF_INET, copy.c_str(), &address) == 1 ||
          ::inet_pton(AF_INET6, copy.c_str(), &address) == 1);
}

bool IsHostName(std::string_view text) {
  if (text.size() > 253) return false;
  for (;;) {
    const size_t dot = text.find('.');
    if (!IsLabel(text.substr(0, dot), 63)) return false;
    if (dot == std::string_view::npos) return true;
    text.remove_prefix(dot + 1);
  }
}

}  // namespace

Status CheckClusterId(std::string_view id) {
  if (IsLabel(id, 64)) return Status::Ok();
  return InvalidArgument("cluster id: expected 1 to 64 of a-z, 0-9 and '-', got {}", Excerpt(id));
}

Status CheckNodeName(std::string_view name) {
  if (IsLabel(name, 63)) return Status::Ok();
  return InvalidArgument(
      "node name: expected 1 to 63 of a-z, 0-9 and '-' that neither begin nor end with '-', got {}",
      Excerpt(name));
}

Status CheckAddress(std::string_view address) {
  if (IsIpAddress(address)) return Status::Ok();
  if (!IsHostName(address))
    return InvalidArgument("address: expected an IP address or a host name in lower case, got {}",
                           Excerpt(address));
  if (address == kNodeDomain || address.ends_with("." + std::string(kNodeDomain)))
    return InvalidArgument("address: names below {} are given to nodes, not asked for, got {}",
                           kNodeDomain, Excerpt(address));
  return Status::Ok();
}

Status CheckIdentity(const NodeIdentity& identity) {
  EK_RETURN_IF_ERROR(CheckClusterId(identity.cluster));
  EK_RETURN_IF_ERROR(CheckNodeName(identity.node));
  if (identity.addresses.size() > kMaxAddresses)
    return InvalidArgument("addresses: expected at most {}, got {}", kMaxAddresses,
                           identity.addresses.size());
  for (const std::string& address : identity.addresses) EK_RETURN_IF_ERROR(CheckAddress(address));
  return Status::Ok();
}

std::string NewClusterId() {
  std::array<uint8_t, 16> bytes{};
  EK_CHECK(RAND_bytes(bytes.data(), bytes.size()) == 1);
  return EncodeBase32(bytes);
}

std::string NodeDnsName(std::string_view node) { return fmt::format("{}.{}", node, kNodeDomain); }

}  // namespace evenkeel::pki
