#include "cluster/pki/node_certificate.h"

#include "cluster/pki/node_identity.h"
#include "cluster/pki/secret_file.h"
#include "cluster/pki/x509_build.h"
#include "core/format.h"
#include "net/tls_files.h"

namespace evenkeel::pki {

Result<NodeCertificate> NodeCertificate::Create(std::string chain_pem, std::string key_pem) {
  Result<std::vector<openssl::Certificate>> chain =
      ParseCertificates(chain_pem, "the node's certificate", 2);
  if (!chain.ok()) return chain.status();
  if (chain->size() != 2)
    return InvalidArgument("expected the node's certificate and the authority's, got {}",
                           chain->size());
  const Result<openssl::Key> key = ParseKey(key_pem, "the node's key");
  if (!key.ok()) return key.status();
  X509* const own = chain->front().get();
  X509* const authority = chain->back().get();
  if (X509_check_private_key(own, key->get()) != 1) {
    openssl::TakeErrors();
    return InvalidArgument("the node's key is not that of its certificate");
  }
  if (X509_verify(own, X509_get0_pubkey(authority)) != 1) {
    openssl::TakeErrors();
    return InvalidArgument("the node's certificate is not signed by the authority beside it");
  }
  Result<Subject> subject = ReadSubject(X509_get_subject_name(own));
  if (!subject.ok()) return subject.status().Annotate("the node's certificate");
  EK_RETURN_IF_ERROR(CheckClusterId(subject->cluster));
  EK_RETURN_IF_ERROR(CheckNodeName(subject->common_name));
  NodeCertificate made;
  made.authority_pem = CertificatePem(authority);
  made.chain_pem = std::move(chain_pem);
  made.key_pem = std::move(key_pem);
  made.cluster = std::move(subject->cluster);
  made.node = std::move(subject->common_name);
  made.not_before = openssl::TimeOf(X509_get0_notBefore(own));
  made.not_after = openssl::TimeOf(X509_get0_notAfter(own));
  return made;
}

Result<NodeCertificate> NodeCertificate::Load(const std::string& folder) {
  Result<std::string> both = ReadSecretFile(folder + "/node.pem");
  if (!both.ok()) return both.status();
  // The certificates' beginning ends the key.
  const size_t at = both->find("-----BEGIN CERTIFICATE-----");
  if (at == std::string::npos)
    return InvalidArgument("'{}/node.pem': expected a key and two certificates", folder);
  return Create(both->substr(at), both->substr(0, at));
}

Status NodeCertificate::Save(const std::string& folder) const {
  EK_RETURN_IF_ERROR(MakeSecretFolder(folder));
  return WriteSecretFile(folder + "/node.pem", key_pem + chain_pem);
}

}  // namespace evenkeel::pki
