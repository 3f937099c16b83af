#include "cluster/join/request_check.h"

#include "core/format.h"
#include "core/parse.h"

namespace evenkeel {

Status CheckRequest(const pki::NodeIdentity& asked, const NodeAddress& node) {
  if (asked.node != node.name)
    return PermissionDenied("node '{}' asks for a certificate of node '{}'", node.name, asked.node);
  const auto address = ParseHostPort(node.address);
  if (!address.ok()) return address.status().Annotate("address");
  EK_RETURN_IF_ERROR(CheckOneHost(address->host).Annotate("address"));
  if (asked.addresses.size() == 1 && SameHost(asked.addresses.front(), address->host)) return {};
  return InvalidArgument(
      "the signing request of node '{}': expected its address, {}, and no other, got {}", node.name,
      address->host, Excerpt(fmt::format("{}", fmt::join(asked.addresses, ", ")), 256));
}

}  // namespace evenkeel
