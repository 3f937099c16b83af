#include "cluster/pki/certificate_authority.h"

#include "cluster/pki/secret_file.h"
#include "cluster/pki/x509_build.h"
#include "core/check.h"
#include "core/format.h"
#include "net/tls_files.h"

namespace evenkeel::pki {
namespace {

constexpr const char* kAuthorityName = "evenkeel authority";

std::string CertificateFile(const std::string& folder) { return folder + "/authority.pem"; }
std::string KeyFile(const std::string& folder) { return folder + "/authority.key"; }

// Of constant text only: `value` has a syntax of its own.
bool AddExtension(X509* certificate, X509* issuer, int nid, const char* value) {
  X509V3_CTX context;
  X509V3_set_ctx(&context, issuer, certificate, nullptr, nullptr, 0);
  X509V3_set_ctx_nodb(&context);
  X509_EXTENSION* const extension = X509V3_EXT_conf_nid(nullptr, &context, nid, value);
  const bool added = extension != nullptr && X509_add_ext(certificate, extension, -1) == 1;
  X509_EXTENSION_free(extension);
  return added;
}

// What all certificates have: version, a random serial number, times, key, subject.
openssl::Certificate Begin(EVP_PKEY* key, const std::string& cluster, const std::string& name,
                           WallTime from, WallTime to) {
  openssl::Certificate certificate(X509_new());
  const openssl::Number serial(BN_new());
  const bool good =
      certificate != nullptr && serial != nullptr &&
      X509_set_version(certificate.get(), X509_VERSION_3) == 1 &&
      BN_rand(serial.get(), 127, BN_RAND_TOP_ANY, BN_RAND_BOTTOM_ANY) == 1 &&
      BN_to_ASN1_INTEGER(serial.get(), X509_get_serialNumber(certificate.get())) != nullptr &&
      ASN1_TIME_set(X509_getm_notBefore(certificate.get()), from.time_since_epoch().count()) !=
          nullptr &&
      ASN1_TIME_set(X509_getm_notAfter(certificate.get()), to.time_since_epoch().count()) !=
          nullptr &&
      X509_set_pubkey(certificate.get(), key) == 1 &&
      SetSubject(X509_get_subject_name(certificate.get()), cluster, name);
  if (!good) certificate.reset();
  return certificate;
}

Status CannotMake() { return Internal("no certificate could be made: {}", openssl::TakeErrors()); }

// Error kInvalidArgument: this certificate is no cluster's authority. Else the cluster's id.
Result<std::string> AuthorityOf(X509* certificate) {
  Result<Subject> subject = ReadSubject(X509_get_subject_name(certificate));
  if (!subject.ok()) return subject.status();
  EK_RETURN_IF_ERROR(CheckClusterId(subject->cluster));
  if (X509_check_ca(certificate) != 1 || subject->common_name != kAuthorityName)
    return InvalidArgument("expected the certificate of a cluster's authority");
  return std::move(subject->cluster);
}

}  // namespace

Sha256 DigestOf(X509* certificate) {
  Sha256 digest{};
  unsigned int size = 0;
  EK_CHECK(X509_digest(certificate, EVP_sha256(), digest.data(), &size) == 1 &&
           size == digest.size());
  return digest;
}

CertificateAuthority::CertificateAuthority(openssl::Certificate certificate, openssl::Key key,
                                           std::string cluster)
    : certificate_(std::move(certificate)),
      key_(std::move(key)),
      cluster_(std::move(cluster)),
      certificate_pem_(CertificatePem(certificate_.get())) {}

Result<CertificateAuthority> CertificateAuthority::Make(const std::string& cluster, WallTime now) {
  EK_RETURN_IF_ERROR(CheckClusterId(cluster));
  Result<openssl::Key> key = NewKey();
  if (!key.ok()) return key.status();
  openssl::Certificate made =
      Begin(key->get(), cluster, kAuthorityName, now - kClockSkew, now + kAuthorityLife);
  X509* const raw = made.get();
  const bool good = raw != nullptr && X509_set_issuer_name(raw, X509_get_subject_name(raw)) == 1 &&
                    AddExtension(raw, raw, NID_basic_constraints, "critical,CA:TRUE,pathlen:0") &&
                    AddExtension(raw, raw, NID_key_usage, "critical,keyCertSign,cRLSign") &&
                    AddExtension(raw, raw, NID_subject_key_identifier, "hash") &&
                    X509_sign(raw, key->get(), EVP_sha256()) > 0;
  if (!good) return CannotMake();
  return CertificateAuthority(std::move(made), std::move(*key), cluster);
}

Result<CertificateAuthority> CertificateAuthority::Load(const std::string& folder) {
  const std::string file = CertificateFile(folder);
  Result<std::vector<openssl::Certificate>> certificates = ReadCertificates(file, 1);
  if (!certificates.ok()) return certificates.status();
  openssl::Certificate certificate = std::move(certificates->front());
  Result<std::string> cluster = AuthorityOf(certificate.get());
  if (!cluster.ok()) return cluster.status().Annotate("'" + file + "'");
  Result<std::string> text = ReadSecretFile(KeyFile(folder));
  if (!text.ok()) return text.status();
  Result<openssl::Key> key = ParseKey(*text, "'" + KeyFile(folder) + "'");
  OPENSSL_cleanse(text->data(), text->size());
  if (!key.ok()) return key.status();
  if (X509_check_private_key(certificate.get(), key->get()) != 1) {
    openssl::TakeErrors();
    return InvalidArgument("'{}' is not the key of '{}'", KeyFile(folder), file);
  }
  return CertificateAuthority(std::move(certificate), std::move(*key), std::move(*cluster));
}

Status CertificateAuthority::Save(const std::string& folder) const {
  EK_RETURN_IF_ERROR(MakeSecretFolder(folder));
  const Result<std::string> there = ReadSecretFile(CertificateFile(folder));
  if (there.ok() && *there == certificate_pem_) return Status::Ok();
  if (there.status().code() != Code::kNotFound)
    return Conflict("'{}' holds another authority, or something else", folder);
  std::string key = KeyPem(key_.get());
  const Status status = WriteSecretFile(KeyFile(folder), key);
  OPENSSL_cleanse(key.data(), key.size());
  EK_RETURN_IF_ERROR(status);
  return WriteSecretFile(CertificateFile(folder), certificate_pem_);
}

Result<std::string> CertificateAuthority::Sign(const SigningRequest& request, WallTime now,
                                               std::chrono::seconds life) const {
  const NodeIdentity& node = request.identity;
  EK_RETURN_IF_ERROR(CheckIdentity(node));
  if (node.cluster != cluster_)
    return InvalidArgument("signing request of node '{}': it is for cluster '{}', this is '{}'",
                           node.node, node.cluster, cluster_);
  if (life <= std::chrono::seconds::zero() || life > kNodeLife)
    return InvalidArgument("a node's certificate lives 1 s to {} s, not {} s", kNodeLife.count(),
                           life.count());
  openssl::Certificate made =
      Begin(request.key.get(), cluster_, node.node, now - kClockSkew, now + life);
  const openssl::Names names = MakeNames({NodeDnsName(node.node)}, node.addresses);
  X509* const raw = made.get();
  X509* const issuer = certificate_.get();
  const bool good =
      raw != nullptr && names != nullptr &&
      X509_set_issuer_name(raw, X509_get_subject_name(issuer)) == 1 &&
      AddExtension(raw, issuer, NID_basic_constraints, "critical,CA:FALSE") &&
      AddExtension(raw, issuer, NID_key_usage, "critical,digitalSignature") &&
      AddExtension(raw, issuer, NID_ext_key_usage, "serverAuth,clientAuth") &&
      AddExtension(raw, issuer, NID_subject_key_identifier, "hash") &&
      AddExtension(raw, issuer, NID_authority_key_identifier, "keyid:always") &&
      X509_add1_ext_i2d(raw, NID_subject_alt_name, names.get(), 0, X509V3_ADD_DEFAULT) == 1 &&
      X509_sign(raw, key_.get(), EVP_sha256()) > 0;
  if (!good) return CannotMake();
  return CertificatePem(raw) + certificate_pem_;
}

}  // namespace evenkeel::pki
