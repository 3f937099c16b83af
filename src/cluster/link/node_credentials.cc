#include "cluster/link/node_credentials.h"

#include "cluster/pki/node_identity.h"

namespace evenkeel::link {

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
  const std::string pem =
      certificates.empty() ? std::string()
                           : std::string(certificates[0].data(), certificates[0].size());
  return check_.ProvenNode(pem, pki::PeerRole::kClient, now);
}

}  // namespace evenkeel::link
