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
constexpr Duration kDeskPatience = std::chrono::seconds(10);

}  // namespace

Result<std::unique_ptr<ClusterHost>> ClusterHost::Start(const ServeOptions& options,
                                                        ModelRegistry& registry, IoLoop& loop,
                                                        const Clock& clock) {
  std::unique_ptr<ClusterHost> host(new ClusterHost);
  ClusterOptions cluster = options.cluster;
  // What a front end takes can be sent on, with the names around it.
  constexpr size_t kNames = size_t{1} << 20;
  cluster.max_message_bytes = std::max(cluster.max_message_bytes, options.max_body_bytes) + kNames;
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
      self->Keep([&](ClusterHome* kept) {
        kept->peers.clear();
        for (const NodeAddress& node : nodes) {
          if (node.name != kept->own.name) kept->peers.push_back(node);
        }
      });
    };
    EK_RETURN_IF_ERROR(host->LoadAuthority());
    cluster.membership = host->Hooks();
  }
  cluster.resources = ResourcesOfThisServer(options.state, /*again=*/false, kMeasureTime).vector;
  cluster.models = options.models;
  cluster.state = options.state;
  ClusterNode::Trust trust;
  if (host->credentials_) trust = {&*host->credentials_, &loop};
  auto node = ClusterNode::Start(cluster, registry, loop, clock, trust);
  if (!node.ok()) return node.status();
  host->node_ = std::move(*node);
  host->address_ = FormatHostPort(cluster.address, host->node_->port());
  // Where there is a store, its leader alone carries plans out; without the store nobody does.
  host->node_->feedback().set_leads([self = host.get()]() -> std::optional<bool> {
    const auto view = self->View();
    if (!view) return std::nullopt;
    return view->connected && view->leading;
  });
  if (!host->home_) return host;
  host->node_->SetRemoved(host->home_->removed);
  EK_RETURN_IF_ERROR(host->OpenMembership(options, clock));
  host->WatchPlans();
  EK_RETURN_IF_ERROR(host->OpenDesk(host->folder_));
  return host;
}

Status ClusterHost::LoadAuthority() {
  std::error_code error;
  if (!std::filesystem::exists(folder_ + "/authority.pem", error)) return Status::Ok();
  auto authority = pki::CertificateAuthority::Load(folder_);
  if (!authority.ok()) return authority.status();
  authority_.emplace(std::move(*authority));
  return Status::Ok();
}

Status ClusterHost::OpenDesk(const std::string& folder) {
  if (!authority_) return Status::Ok();
  auto authority = pki::CertificateAuthority::Load(folder);
  if (!authority.ok()) return authority.status();
  auto loop = IoLoop::Create("ek-join");
  if (!loop.ok()) return loop.status();
  desk_loop_ = std::move(*loop);
  desk_loop_->Start();
  desk_ = std::make_unique<JoinDesk>(
      std::move(*authority), folder + "/tokens", [this] { return node_->Nodes(); },
      [this] {
        const ClusterMembership* const membership = membership_now_.load();
        return membership != nullptr ? membership->Store() : home_->store;
      },
      [this](const NodeAddress& node) { return Admit(node); });
  const auto address = ParseHostPort(home_->own.address);
  if (!address.ok()) return address.status();
  HttpServerOptions listen;
  listen.address = address->host;
  listen.port = static_cast<uint16_t>(JoinPortOf(address->port));
  listen.limits.body_bytes = size_t{1} << 20;
  listen.limits.connections = 64;
  // Whoever reaches the port may hold a connection: not for long.
  listen.limits.idle_time = listen.limits.request_time = kDeskPatience;
  auto tls = TlsServerContext::Load({folder + "/node.pem", folder + "/node.pem"});
  if (!tls.ok()) return tls.status().Annotate("the desk where nodes join");
  listen.tls = std::move(*tls);
  auto server = HttpServer::Listen(listen, desk_.get(), {desk_loop_.get()});
  if (!server.ok()) return server.status().Annotate("the desk where nodes join");
  desk_server_ = std::move(*server);
  desk_address_ = FormatHostPort(listen.address, desk_server_->port());
  return Status::Ok();
}

// On the main loop or the store's, which wait for the disk: it happens when nodes come and go.
void ClusterHost::Keep(const std::function<void(ClusterHome*)>& change) {
  const std::lock_guard lock(home_mutex_);
  change(&*home_);
  const Status saved = SaveClusterHome(folder_, *home_);
  if (!saved.ok()) LogWarning("what is known of the cluster is not kept: {}", saved.message());
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
  CloseMembership();
}

std::string ClusterHost::Summary() const {
  std::string text = fmt::format("{}, {}{}", node_->NameOf(0), address_,
                                 credentials_ ? "" : " (nothing is encrypted between nodes)");
  if (!desk_address_.empty()) text += "; new nodes join at " + desk_address_;
  return text;
}

}  // namespace evenkeel
