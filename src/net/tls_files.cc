#include "net/tls_files.h"

#include <arpa/inet.h>
#include <openssl/pem.h>
#include <sys/stat.h>

#include <cerrno>
#include <cstring>
#include <fstream>

#include "core/format.h"

namespace evenkeel {
namespace {

// Far above any chain; keeps a wrong path (a model, a device) from being read whole.
constexpr std::streamsize kMaxFileBytes = 1 << 20;
constexpr size_t kMaxChain = 16;

Result<std::string> ReadSmallFile(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  if (!file) return NotFound("'{}': {}", path, std::strerror(errno));
  std::string text(static_cast<size_t>(kMaxFileBytes) + 1, '\0');
  file.read(text.data(), kMaxFileBytes + 1);
  if (file.bad()) return InvalidArgument("'{}': {}", path, std::strerror(errno));
  if (file.gcount() > kMaxFileBytes) return InvalidArgument("'{}': larger than 1 MiB", path);
  text.resize(static_cast<size_t>(file.gcount()));
  return text;
}

// Nobody is asked for a passphrase; that it was wanted is remembered.
int NoPassphrase(char*, int, int, void* wanted) {
  *static_cast<bool*>(wanted) = true;
  return -1;
}

Result<openssl::Key> ReadKey(const std::string& path) {
  Result<std::string> text = ReadSmallFile(path);
  if (!text.ok()) return text.status();
  const openssl::Bio bio = openssl::ReadFrom(*text);
  bool encrypted = false;
  openssl::Key key(PEM_read_bio_PrivateKey(bio.get(), nullptr, NoPassphrase, &encrypted));
  OPENSSL_cleanse(text->data(), text->size());
  const std::string why = key == nullptr ? openssl::TakeErrors() : std::string();
  if (encrypted) return InvalidArgument("'{}': expected a key without a passphrase", path);
  if (key == nullptr)
    return InvalidArgument("'{}': expected a private key in PEM form ({})", path, why);
  return key;
}

std::string TextOf(const GENERAL_NAME* name) {
  if (name->type == GEN_DNS) {
    const ASN1_IA5STRING* text = name->d.dNSName;
    return {reinterpret_cast<const char*>(ASN1_STRING_get0_data(text)),
            static_cast<size_t>(ASN1_STRING_length(text))};
  }
  if (name->type != GEN_IPADD) return {};
  const ASN1_OCTET_STRING* bytes = name->d.iPAddress;
  const int size = ASN1_STRING_length(bytes);
  char text[INET6_ADDRSTRLEN] = "";
  if (size == 4 || size == 16)
    ::inet_ntop(size == 4 ? AF_INET : AF_INET6, ASN1_STRING_get0_data(bytes), text, sizeof text);
  return text;
}

}  // namespace

Result<std::vector<openssl::Certificate>> ParseCertificates(std::string_view pem,
                                                            std::string_view where, size_t most) {
  const openssl::Bio bio = openssl::ReadFrom(pem);
  std::vector<openssl::Certificate> all;
  while (X509* one = PEM_read_bio_X509(bio.get(), nullptr, nullptr, nullptr)) {
    all.emplace_back(one);
    if (all.size() > most) return InvalidArgument("{}: more than {} certificates", where, most);
  }
  // The end of the text is an error too, to OpenSSL.
  const bool ended = ERR_GET_REASON(ERR_peek_last_error()) == PEM_R_NO_START_LINE;
  const std::string why = openssl::TakeErrors();
  if (all.empty())
    return InvalidArgument("{}: expected a certificate in PEM form (-----BEGIN CERTIFICATE-----)",
                           where);
  if (!ended)
    return InvalidArgument("{}: certificate {} is broken: {}", where, all.size() + 1, why);
  return all;
}

Result<std::vector<openssl::Certificate>> ReadCertificates(const std::string& path, size_t most) {
  Result<std::string> text = ReadSmallFile(path);
  if (!text.ok()) return text.status();
  return ParseCertificates(*text, fmt::format("'{}'", path), most);
}

Result<TlsPair> ReadTlsPair(const TlsPairFiles& files) {
  Result<std::vector<openssl::Certificate>> chain = ReadCertificates(files.certificate, kMaxChain);
  if (!chain.ok()) return chain.status();
  Result<openssl::Key> key = ReadKey(files.key);
  if (!key.ok()) return key.status();
  if (X509_check_private_key(chain->front().get(), key->get()) != 1) {
    openssl::TakeErrors();
    return InvalidArgument(
        "the key '{}' is not that of the (first) certificate in '{}': they belong to different "
        "pairs",
        files.key, files.certificate);
  }
  return TlsPair{std::move(*chain), std::move(*key)};
}

CertificateFacts FactsOf(X509* certificate) {
  CertificateFacts facts;
  const openssl::Bio text(BIO_new(BIO_s_mem()));
  X509_NAME_print_ex(text.get(), X509_get_subject_name(certificate), 0, XN_FLAG_ONELINE);
  facts.subject = openssl::TextOf(text.get());
  const openssl::Names names(static_cast<GENERAL_NAMES*>(
      X509_get_ext_d2i(certificate, NID_subject_alt_name, nullptr, nullptr)));
  for (int i = 0; i < sk_GENERAL_NAME_num(names.get()); ++i) {
    std::string name = TextOf(sk_GENERAL_NAME_value(names.get(), i));
    if (!name.empty()) facts.names.push_back(std::move(name));
  }
  facts.not_before = openssl::TimeOf(X509_get0_notBefore(certificate));
  facts.not_after = openssl::TimeOf(X509_get0_notAfter(certificate));
  return facts;
}

bool OpenToOthers(const std::string& path) {
  struct stat facts {};
  return ::stat(path.c_str(), &facts) == 0 && (facts.st_mode & (S_IROTH | S_IWOTH)) != 0;
}

std::string FileStamp(const std::string& path) {
  struct stat facts {};
  if (::stat(path.c_str(), &facts) != 0) return {};
  return fmt::format("{}:{}:{}:{}.{}:{}.{}", facts.st_dev, facts.st_ino, facts.st_size,
                     facts.st_mtim.tv_sec, facts.st_mtim.tv_nsec, facts.st_ctim.tv_sec,
                     facts.st_ctim.tv_nsec);
}

}  // namespace evenkeel
