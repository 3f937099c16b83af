#include "server/cluster_host.h"

#include <algorithm>
#include <filesystem>
#include <utility>

#include "cluster/measure/resources.h"
#include "cluster/pki/certificate_authority.h"
#include "core/format.h"
#include "core/log.h"
#include "net/tls_context.h"

namespace evenkeel {
namespace {

// At a node's first start; `evenkeel doctor --bench` takes longer, and is believed then.
constexpr Duration kMeasureTime = std::chrono::milliseconds(600);

}  // namespace

Result<std::unique_ptr<ClusterHost>> ClusterHost::Start(const ServeOptions& options,
                                                        ModelRegistry& registry, IoLoop& loop,
                                                        const Clock& clock) {
  std::unique_ptr<ClusterHost> host(new ClusterHost);
  ClusterOptions cluster = options.cluster;
  host->folder_ = ClusterFolder(options.state);
  auto home = LoadClusterHome(host->folder_);
  if (!home.ok() && home.status().code() != Code::kNotFound) return home.status();
  if (!home.ok() && cluster.name.empty()) return std::unique_ptr<ClusterHost>();
  if (home.ok()) {
    if (!cluster.name.empty())
      return InvalidArgument(
          "cluster.name and cluster.peers are for servers without a cluster folder; {} says that "
          "this one is node '{}'",
          host->folder_, home->own.name);
    auto certificate = pki::NodeCertificate::Load(host->folder_);
    if (!certificate.ok()) return certificate.status();
    if (certificate->node != home->own.name || certificate->cluster != home->cluster)
      return InvalidArgument(
          "{}: the certificate is for node '{}' of cluster '{}', not '{}' of '{}'", host->folder_,
          certificate->node, certificate->cluster, home->own.name, home->cluster);
    auto credentials = link::NodeCredentials::Create(std::move(*certificate));
    if (!credentials.ok()) return credentials.status();
    host->credentials_.emplace(std::move(*credentials));
    host->home_ = std::move(*home);
    const auto address = ParseHostPort(host->home_->own.address);
    if (!address.ok()) return address.status();
    cluster.name = host->home_->own.name;
    cluster.address = address->host;
    cluster.port = address->port;
    cluster.own_address = host->home_->own.address;
    cluster.peers = host->home_->peers;
    cluster.on_nodes = [self = host.get()](const std::vector<NodeAddress>& nodes) {
      self->Keep(nodes);
    };
  }
  cluster.resources = ResourcesOfThisServer(options.state, /*again=*/false, kMeasureTime).vector;
  ClusterNode::Trust trust;
  if (host->credentials_) trust = {&*host->credentials_, &loop};
  auto node = ClusterNode::Start(cluster, registry, loop, clock, trust);
  if (!node.ok()) return node.status();
  host->node_ = std::move(*node);
  host->address_ = FormatHostPort(cluster.address, host->node_->port());
  if (host->home_) EK_RETURN_IF_ERROR(host->OpenDesk(host->folder_));
  return host;
}

Status ClusterHost::OpenDesk(const std::string& folder) {
  std::error_code error;
  if (!std::filesystem::exists(folder + "/authority.pem", error)) return Status::Ok();
  auto authority = pki::CertificateAuthority::Load(folder);
  if (!authority.ok()) return authority.status();
  auto loop = IoLoop::Create("ek-join");
  if (!loop.ok()) return loop.status();
  desk_loop_ = std::move(*loop);
  desk_loop_->Start();
  desk_ = std::make_unique<JoinDesk>(
      std::move(*authority), folder + "/tokens", [this] { return node_->Nodes(); },
      [this](const NodeAddress& node) {
        node_->AddPeer(node);
        return Status::Ok();
      });
  const auto address = ParseHostPort(home_->own.address);
  if (!address.ok()) return address.status();
  HttpServerOptions listen;
  listen.address = address->host;
  listen.port = static_cast<uint16_t>(JoinPortOf(address->port));
  listen.limits.body_bytes = size_t{1} << 20;
  listen.limits.connections = 64;
  auto tls = TlsServerContext::Load({folder + "/node.pem", folder + "/node.pem"});
  if (!tls.ok()) return tls.status().Annotate("the desk where nodes join");
  listen.tls = std::move(*tls);
  auto server = HttpServer::Listen(listen, desk_.get(), {desk_loop_.get()});
  if (!server.ok()) return server.status().Annotate("the desk where nodes join");
  desk_server_ = std::move(*server);
  desk_address_ = FormatHostPort(listen.address, desk_server_->port());
  return Status::Ok();
}

// On the main loop, which waits for the disk: it happens when a node joins.
void ClusterHost::Keep(const std::vector<NodeAddress>& nodes) {
  ClusterHome home = *home_;
  home.peers.clear();
  for (const NodeAddress& node : nodes) {
    if (node.name != home.own.name) home.peers.push_back(node);
  }
  const Status saved = SaveClusterHome(folder_, home);
  if (!saved.ok()) LogWarning("the cluster's nodes are not kept: {}", saved.message());
}

ClusterHost::~ClusterHost() { Stop(); }

void ClusterHost::Stop() {
  desk_server_.reset();
  if (desk_loop_) {
    desk_loop_->Stop();
    desk_loop_->Join();
    desk_loop_.reset();
  }
  if (node_) node_->Stop();
}

std::string ClusterHost::Summary() const {
  std::string text = fmt::format("{}, {}{}", node_->NameOf(0), address_,
                                 credentials_ ? "" : " (nothing is encrypted between nodes)");
  if (!desk_address_.empty()) text += "; new nodes join at " + desk_address_;
  return text;
}

}  // namespace evenkeel
