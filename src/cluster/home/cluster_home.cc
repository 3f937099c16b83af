#include "cluster/home/cluster_home.h"

#include <arpa/inet.h>

#include <algorithm>
#include <array>
#include <cstdint>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <optional>
#include <set>
#include <sstream>

#include "cluster/pki/node_identity.h"
#include "core/format.h"
#include "core/json_fields.h"
#include "core/parse.h"
#include "core/replace_file.h"
#include "core/strict_json.h"

namespace evenkeel {
namespace {

using Json = nlohmann::json;

constexpr size_t kMostBytes = size_t{1} << 20;
constexpr int kDeepest = 3;
constexpr const char* kSchema = "evenkeel.cluster-home/v1";

Status CheckNode(const NodeAddress& node) {
  EK_RETURN_IF_ERROR(pki::CheckNodeName(node.name));
  const auto address = ParseHostPort(node.address);
  return address.ok() ? Status::Ok() : address.status().Annotate("node '" + node.name + "'");
}

Result<ClusterHome> Parse(const std::string& text) {
  const auto document = ParseStrictObject(text, kDeepest, "the cluster's file");
  if (!document.ok()) return document.status();
  JsonFields fields(*document, "",
                    {"schema", "cluster", "node", "address", "peers", "store", "removed"});
  if (const std::string schema = fields.Text("schema", "", true);
      fields.status().ok() && schema != kSchema)
    return InvalidArgument("schema: expected {}, got {}", kSchema, Excerpt(schema));
  ClusterHome home;
  home.cluster = fields.Text("cluster", "", true);
  home.own.name = fields.Text("node", "", true);
  home.own.address = fields.Text("address", "", true);
  const Json* const peers = fields.List("peers", true);
  const Json* const store = fields.Find("store");
  const Json* const removed = fields.List("removed");
  EK_RETURN_IF_ERROR(fields.status());
  EK_RETURN_IF_ERROR(pki::CheckClusterId(home.cluster));
  EK_RETURN_IF_ERROR(CheckNode(home.own));
  if (peers->size() > kMostNodes)
    return TooLarge("{} peers; at most {} are known", peers->size(), kMostNodes);
  std::set<std::string> names{home.own.name};
  for (size_t i = 0; i < peers->size(); ++i) {
    JsonFields one((*peers)[i], fmt::format("peers[{}]", i), {"node", "address"});
    NodeAddress peer{one.Text("node", "", true), one.Text("address", "", true)};
    EK_RETURN_IF_ERROR(one.status());
    EK_RETURN_IF_ERROR(CheckNode(peer));
    if (!names.insert(peer.name).second)
      return InvalidArgument("peers[{}]: node '{}' is there twice", i, peer.name);
    home.peers.push_back(std::move(peer));
  }
  if (store != nullptr) {
    auto parsed = ParseStoreHome(*store, "store");
    if (!parsed.ok()) return parsed.status();
    home.store = std::move(*parsed);
  }
  for (const Json& name : removed != nullptr ? *removed : Json::array()) {
    if (!name.is_string() || !pki::CheckNodeName(name.get<std::string>()).ok())
      return InvalidArgument("removed: expected names of nodes, got {}", Excerpt(name.dump()));
    home.removed.push_back(name.get<std::string>());
  }
  return home;
}

// As IPv6 has them, where each IPv4 address has one, too.
using AddressBytes = std::array<uint8_t, 16>;

std::optional<AddressBytes> BytesOf(std::string_view host) {
  // inet_pton() would stop at a NUL, and take what stands before it.
  if (host.find('\0') != std::string_view::npos) return std::nullopt;
  const std::string text(host);
  AddressBytes bytes{};
  if (::inet_pton(AF_INET6, text.c_str(), bytes.data()) == 1) return bytes;
  bytes = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff};
  if (::inet_pton(AF_INET, text.c_str(), bytes.data() + 12) == 1) return bytes;
  return std::nullopt;
}

}  // namespace

Result<HostPort> ParseHostPort(std::string_view text) {
  const size_t colon = text.rfind(':');
  const auto wrong = [&] {
    return InvalidArgument(
        "expected ADDRESS:PORT with a numeric address, as 10.0.0.2:8010 or "
        "[fd00::2]:8010, got {}",
        Excerpt(text));
  };
  if (colon == std::string_view::npos) return wrong();
  std::string_view host = text.substr(0, colon);
  const bool bracketed = host.starts_with('[') && host.ends_with(']');
  if (bracketed) host = host.substr(1, host.size() - 2);
  const auto port = ParseInt(text.substr(colon + 1), 1, 65535);
  // Of the two only IPv6 has colons, and it stands in brackets.
  const bool v6 = host.find(':') != std::string_view::npos;
  if (!port.ok() || !BytesOf(host) || v6 != bracketed) return wrong();
  return HostPort{std::string(host), static_cast<int>(*port)};
}

bool SameHost(std::string_view a, std::string_view b) {
  const auto one = BytesOf(a);
  return one && one == BytesOf(b);
}

Status CheckOneHost(std::string_view host) {
  const auto bytes = BytesOf(host);
  if (!bytes)
    return InvalidArgument("expected a numeric address, as 10.0.0.2 or fd00::2, got {}",
                           Excerpt(host));
  constexpr AddressBytes kMapped = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff};
  const bool v4 = std::equal(kMapped.begin(), kMapped.begin() + 12, bytes->begin());
  const bool none = std::all_of(bytes->begin() + (v4 ? 12 : 0), bytes->end(),
                                [](uint8_t byte) { return byte == 0; });
  // 224.0.0.0 and above: multicast, reserved, broadcast; ff00::/8.
  const bool many = v4 ? (*bytes)[12] >= 224 : (*bytes)[0] == 0xff;
  if (!none && !many) return Status::Ok();
  return InvalidArgument(
      "{} is no address of one host: expected the one where other nodes reach this node", host);
}

bool SameAddress(std::string_view a, std::string_view b) {
  const auto one = ParseHostPort(a), other = ParseHostPort(b);
  return one.ok() && other.ok() && one->port == other->port && SameHost(one->host, other->host);
}

std::string FormatHostPort(const std::string& host, int port) {
  return host.find(':') == std::string::npos ? fmt::format("{}:{}", host, port)
                                             : fmt::format("[{}]:{}", host, port);
}

bool ClusterHome::Knows(std::string_view name) const {
  return own.name == name || std::ranges::find(peers, name, &NodeAddress::name) != peers.end();
}

std::string ClusterFolder(const std::string& state) { return state + "/cluster"; }

Result<ClusterHome> LoadClusterHome(const std::string& folder) {
  const std::string path = folder + "/cluster.json";
  std::error_code error;
  const auto facts = std::filesystem::status(path, error);
  if (facts.type() == std::filesystem::file_type::not_found)
    return NotFound("no cluster: {} is not there (evenkeel cluster init, or join)", path);
  // A folder that this user may not look into is not the same as none: alone, the server would do without its cluster, and without its certificates.
  if (error) return Unavailable("{} cannot be read: {}", path, error.message());
  if (std::filesystem::file_size(path, error) > kMostBytes)
    return TooLarge("{}: more than {} bytes", path, kMostBytes);
  std::ifstream file(path);
  std::ostringstream text;
  text << file.rdbuf();
  if (!file) return Unavailable("{} cannot be read", path);
  auto home = Parse(text.str());
  if (!home.ok()) return home.status().Annotate(path);
  return home;
}

Status SaveClusterHome(const std::string& folder, const ClusterHome& home) {
  Json peers = Json::array();
  for (const NodeAddress& peer : home.peers)
    peers.push_back({{"node", peer.name}, {"address", peer.address}});
  const Json document = {{"schema", kSchema},         {"cluster", home.cluster},
                         {"node", home.own.name},     {"address", home.own.address},
                         {"peers", std::move(peers)}, {"store", WriteStoreHome(home.store)},
                         {"removed", home.removed}};
  return ReplaceFile(folder + "/cluster.json", document.dump(1) + "\n");
}

}  // namespace evenkeel
