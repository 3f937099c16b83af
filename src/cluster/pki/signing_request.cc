#include "cluster/pki/signing_request.h"

#include <openssl/pem.h>

#include "cluster/pki/x509_build.h"
#include "core/format.h"

namespace evenkeel::pki {
namespace {

constexpr size_t kMaxRequestBytes = 16 * 1024;

struct DropExtensions {
  void operator()(STACK_OF(X509_EXTENSION) * stack) const {
    sk_X509_EXTENSION_pop_free(stack, X509_EXTENSION_free);
  }
};
using Extensions = std::unique_ptr<STACK_OF(X509_EXTENSION), DropExtensions>;

bool AddAddresses(X509_REQ* request, const std::vector<std::string>& addresses) {
  if (addresses.empty()) return true;
  const openssl::Names names = MakeNames({}, addresses);
  STACK_OF(X509_EXTENSION)* raw = nullptr;
  const bool made = names != nullptr && X509V3_add1_i2d(&raw, NID_subject_alt_name, names.get(), 0,
                                                        X509V3_ADD_APPEND) == 1;
  const Extensions extensions(raw);
  return made && X509_REQ_add_extensions(request, extensions.get()) == 1;
}

Result<std::vector<std::string>> ReadAddresses(X509_REQ* request) {
  const Extensions extensions(X509_REQ_get_extensions(request));
  if (extensions == nullptr) return std::vector<std::string>();
  const openssl::Names names(static_cast<GENERAL_NAMES*>(
      X509V3_get_d2i(extensions.get(), NID_subject_alt_name, nullptr, nullptr)));
  NamesRead read = ReadNames(names.get());
  if (read.others)
    return InvalidArgument("signing request: expected host names and addresses only");
  std::vector<std::string> all = std::move(read.dns);
  all.insert(all.end(), read.ip.begin(), read.ip.end());
  return all;
}

}  // namespace

Result<NewRequest> MakeSigningRequest(const NodeIdentity& identity) {
  EK_RETURN_IF_ERROR(CheckIdentity(identity));
  Result<openssl::Key> key = NewKey();
  if (!key.ok()) return key.status();
  const openssl::Request request(X509_REQ_new());
  const bool good =
      request != nullptr && X509_REQ_set_version(request.get(), X509_REQ_VERSION_1) == 1 &&
      SetSubject(X509_REQ_get_subject_name(request.get()), identity.cluster, identity.node) &&
      X509_REQ_set_pubkey(request.get(), key->get()) == 1 &&
      AddAddresses(request.get(), identity.addresses) &&
      X509_REQ_sign(request.get(), key->get(), EVP_sha256()) > 0;
  if (!good) return Internal("no signing request could be made: {}", openssl::TakeErrors());
  const openssl::Bio bio(BIO_new(BIO_s_mem()));
  PEM_write_bio_X509_REQ(bio.get(), request.get());
  return NewRequest{KeyPem(key->get()), openssl::TextOf(bio.get())};
}

Result<SigningRequest> ReadSigningRequest(std::string_view pem) {
  if (pem.size() > kMaxRequestBytes)
    return TooLarge("signing request: {} bytes, at most {} are allowed", pem.size(),
                    kMaxRequestBytes);
  const openssl::Bio bio = openssl::ReadFrom(pem);
  const openssl::Request request(PEM_read_bio_X509_REQ(bio.get(), nullptr, nullptr, nullptr));
  if (request == nullptr)
    return InvalidArgument("signing request: expected PEM of PKCS#10 ({})", openssl::TakeErrors());
  SigningRequest read;
  read.key.reset(X509_REQ_get_pubkey(request.get()));
  if (read.key == nullptr || !IsP256(read.key.get())) {
    openssl::TakeErrors();
    return InvalidArgument("signing request: expected a key on the curve P-256");
  }
  if (X509_REQ_verify(request.get(), read.key.get()) != 1) {
    openssl::TakeErrors();
    return InvalidArgument("signing request: it is not signed by the key that it is for");
  }
  Result<Subject> subject = ReadSubject(X509_REQ_get_subject_name(request.get()));
  if (!subject.ok()) return subject.status().Annotate("signing request");
  Result<std::vector<std::string>> addresses = ReadAddresses(request.get());
  openssl::TakeErrors();
  if (!addresses.ok()) return addresses.status();
  read.identity = {std::move(subject->cluster), std::move(subject->common_name),
                   std::move(*addresses)};
  EK_RETURN_IF_ERROR(CheckIdentity(read.identity).Annotate("signing request"));
  return read;
}

}  // namespace evenkeel::pki
