#include "cluster/link/node_credentials.h"

#include <mutex>
#include <unordered_map>

#include "cluster/pki/node_identity.h"

namespace evenkeel::link {

namespace {
constexpr size_t kMaxSeen = 1024;
constexpr std::chrono::seconds kSeenFor = std::chrono::minutes(1);
}  // namespace

struct NodeCredentials::Seen {
  struct Node {
    std::string name;
    pki::WallTime when;  // checked
  };
  std::mutex mutex;  // guards what follows
  std::unordered_map<std::string, Node> by_certificate;
};

NodeCredentials::NodeCredentials(pki::NodeCertificate certificate, pki::PeerCheck check)
    : certificate_(std::move(certificate)),
      check_(std::move(check)),
      seen_(std::make_shared<Seen>()) {}

Result<NodeCredentials> NodeCredentials::Create(pki::NodeCertificate certificate) {
  Result<pki::PeerCheck> check = pki::PeerCheck::Create(certificate.authority_pem);
  if (!check.ok()) return check.status();
  return NodeCredentials(std::move(certificate), std::move(*check));
}

std::shared_ptr<grpc::ServerCredentials> NodeCredentials::Server() const {
  grpc::SslServerCredentialsOptions options(
      GRPC_SSL_REQUEST_AND_REQUIRE_CLIENT_CERTIFICATE_AND_VERIFY);
  options.pem_root_certs = certificate_.authority_pem;
  options.pem_key_cert_pairs.push_back({certificate_.key_pem, certificate_.chain_pem});
  return grpc::SslServerCredentials(options);
}

std::shared_ptr<grpc::ChannelCredentials> NodeCredentials::Client() const {
  grpc::SslCredentialsOptions options;
  options.pem_root_certs = certificate_.authority_pem;
  options.pem_private_key = certificate_.key_pem;
  options.pem_cert_chain = certificate_.chain_pem;
  return grpc::SslCredentials(options);
}

void NodeCredentials::ExpectNode(const std::string& node, grpc::ChannelArguments* arguments) {
  arguments->SetSslTargetNameOverride(pki::NodeDnsName(node));
}

Result<std::string> NodeCredentials::CallerOf(const grpc::AuthContext& peer,
                                              pki::WallTime now) const {
  const auto certificates = peer.FindPropertyValues(GRPC_X509_PEM_CERT_PROPERTY_NAME);
  const std::string pem = certificates.empty()
                              ? std::string()
                              : std::string(certificates[0].data(), certificates[0].size());
  {
    const std::lock_guard lock(seen_->mutex);
    const auto known = seen_->by_certificate.find(pem);
    if (known != seen_->by_certificate.end() && now >= known->second.when &&
        now - known->second.when < kSeenFor)
      return known->second.name;
  }
  Result<std::string> node = check_.ProvenNode(pem, pki::PeerRole::kClient, now);
  if (!node.ok()) return node;
  const std::lock_guard lock(seen_->mutex);
  if (seen_->by_certificate.size() >= kMaxSeen) seen_->by_certificate.clear();
  seen_->by_certificate[pem] = {*node, now};
  return node;
}

}  // namespace evenkeel::link
