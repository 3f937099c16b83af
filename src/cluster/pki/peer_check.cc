#include "cluster/pki/peer_check.h"

#include <algorithm>

#include "cluster/pki/node_identity.h"
#include "cluster/pki/x509_build.h"
#include "core/format.h"
#include "core/parse.h"
#include "net/tls_files.h"

namespace evenkeel::pki {
namespace {

constexpr size_t kMaxChain = 4;
constexpr size_t kMaxChainBytes = 64 * 1024;

template <typename... Args>
Status Refused(fmt::format_string<Args...> format, Args&&... args) {
  return {Code::kUnauthenticated,
          "the peer's certificate " + fmt::format(format, std::forward<Args>(args)...)};
}

Status WhyNot(int error) {
  switch (error) {
    case X509_V_ERR_CERT_HAS_EXPIRED: return Refused("has expired");
    case X509_V_ERR_CERT_NOT_YET_VALID: return Refused("is not valid yet: do the clocks agree?");
    case X509_V_ERR_INVALID_PURPOSE: return Refused("is not for this use");
    case X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT:
    case X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT_LOCALLY:
    case X509_V_ERR_UNABLE_TO_VERIFY_LEAF_SIGNATURE:
    case X509_V_ERR_DEPTH_ZERO_SELF_SIGNED_CERT:
    case X509_V_ERR_SELF_SIGNED_CERT_IN_CHAIN:
    case X509_V_ERR_CERT_SIGNATURE_FAILURE:
      return Refused("was not signed by this cluster's authority");
    default: return Refused("is refused: {}", X509_verify_cert_error_string(error));
  }
}

}  // namespace

Result<PeerCheck> PeerCheck::Create(std::string_view authority_pem) {
  const Result<std::vector<openssl::Certificate>> authority =
      ParseCertificates(authority_pem, "the authority's certificate", 1);
  if (!authority.ok()) return authority.status();
  X509* const certificate = authority->front().get();
  Result<Subject> subject = ReadSubject(X509_get_subject_name(certificate));
  if (!subject.ok() || X509_check_ca(certificate) != 1)
    return InvalidArgument("expected the certificate of a cluster's authority");
  PeerCheck check;
  check.cluster_ = std::move(subject->cluster);
  check.authorities_.reset(X509_STORE_new());
  if (check.authorities_ == nullptr ||
      X509_STORE_add_cert(check.authorities_.get(), certificate) != 1)
    return Internal("store of certificates: {}", openssl::TakeErrors());
  return check;
}

Result<std::string> PeerCheck::ProvenNode(std::string_view chain_pem, PeerRole role,
                                          WallTime now) const {
  if (chain_pem.empty()) return Status(Code::kUnauthenticated, "the peer shows no certificate");
  if (chain_pem.size() > kMaxChainBytes) return Refused("is larger than 64 KiB");
  Result<std::vector<openssl::Certificate>> chain =
      ParseCertificates(chain_pem, "chain", kMaxChain);
  if (!chain.ok()) return Refused("cannot be read: {}", chain.status().message());
  const openssl::CertificateStack rest(sk_X509_new_null());
  for (size_t i = 1; i < chain->size(); ++i) sk_X509_push(rest.get(), (*chain)[i].release());
  X509* const own = chain->front().get();

  const openssl::StoreContext context(X509_STORE_CTX_new());
  if (context == nullptr ||
      X509_STORE_CTX_init(context.get(), authorities_.get(), own, rest.get()) != 1)
    return Internal("check of certificates: {}", openssl::TakeErrors());
  X509_STORE_CTX_set_default(context.get(),
                             role == PeerRole::kClient ? "ssl_client" : "ssl_server");
  X509_STORE_CTX_set_time(context.get(), 0, now.time_since_epoch().count());
  const bool good = X509_verify_cert(context.get()) == 1;
  openssl::TakeErrors();
  if (!good) return WhyNot(X509_STORE_CTX_get_error(context.get()));

  Result<Subject> subject = ReadSubject(X509_get_subject_name(own));
  if (!subject.ok()) return Refused("names no node: {}", subject.status().message());
  if (subject->cluster != cluster_)
    return Refused("is of cluster {}, this is '{}'", Excerpt(subject->cluster), cluster_);
  const openssl::Names names(
      static_cast<GENERAL_NAMES*>(X509_get_ext_d2i(own, NID_subject_alt_name, nullptr, nullptr)));
  const NamesRead read = ReadNames(names.get());
  if (!CheckNodeName(subject->common_name).ok() ||
      std::ranges::find(read.dns, NodeDnsName(subject->common_name)) == read.dns.end())
    return Refused("names {} and is not for that name", Excerpt(subject->common_name));
  return std::move(subject->common_name);
}

Status PeerCheck::Expect(std::string_view node, std::string_view chain_pem, PeerRole role,
                         WallTime now) const {
  const Result<std::string> proven = ProvenNode(chain_pem, role, now);
  if (!proven.ok()) return proven.status();
  if (*proven == node) return Status::Ok();
  return Refused("is node '{}', not '{}'", *proven, node);
}

}  // namespace evenkeel::pki
