#include "cluster/pki/x509_build.h"

#include <arpa/inet.h>
#include <openssl/core_names.h>
#include <openssl/ec.h>
#include <openssl/pem.h>

#include <array>

#include "core/format.h"

namespace evenkeel::pki {
namespace {

int NoPassphrase(char*, int, int, void*) { return -1; }

std::string Utf8(const ASN1_STRING* text) {
  unsigned char* bytes = nullptr;
  const int size = ASN1_STRING_to_UTF8(&bytes, text);
  if (size < 0) return {};
  std::string out(reinterpret_cast<char*>(bytes), static_cast<size_t>(size));
  OPENSSL_free(bytes);
  return out;
}

std::string BytesOf(const ASN1_STRING* text) {
  return {reinterpret_cast<const char*>(ASN1_STRING_get0_data(text)),
          static_cast<size_t>(ASN1_STRING_length(text))};
}

bool Append(GENERAL_NAMES* names, int type, std::string_view bytes) {
  GENERAL_NAME* const name = GENERAL_NAME_new();
  ASN1_STRING* const value =
      type == GEN_DNS ? static_cast<ASN1_STRING*>(ASN1_IA5STRING_new()) : ASN1_OCTET_STRING_new();
  if (name == nullptr || value == nullptr ||
      ASN1_STRING_set(value, bytes.data(), static_cast<int>(bytes.size())) != 1) {
    GENERAL_NAME_free(name);
    ASN1_STRING_free(value);
    return false;
  }
  GENERAL_NAME_set0_value(name, type, value);
  if (sk_GENERAL_NAME_push(names, name) > 0) return true;
  GENERAL_NAME_free(name);
  return false;
}

// The address's bytes; empty for a host name.
std::string IpBytes(const std::string& address) {
  std::array<char, 16> bytes{};
  if (::inet_pton(AF_INET, address.c_str(), bytes.data()) == 1) return {bytes.data(), 4};
  if (::inet_pton(AF_INET6, address.c_str(), bytes.data()) == 1) return {bytes.data(), 16};
  return {};
}

}  // namespace

Result<openssl::Key> NewKey() {
  openssl::Key key(EVP_EC_gen("P-256"));
  if (key == nullptr) return Internal("no key could be made: {}", openssl::TakeErrors());
  return key;
}

bool IsP256(const EVP_PKEY* key) {
  std::array<char, 64> group{};
  size_t size = 0;
  return EVP_PKEY_is_a(key, "EC") == 1 &&
         EVP_PKEY_get_utf8_string_param(key, OSSL_PKEY_PARAM_GROUP_NAME, group.data(), group.size(),
                                        &size) == 1 &&
         std::string_view(group.data(), size) == SN_X9_62_prime256v1;
}

std::string KeyPem(EVP_PKEY* key) {
  const openssl::Bio bio(BIO_new(BIO_s_mem()));
  PEM_write_bio_PKCS8PrivateKey(bio.get(), key, nullptr, nullptr, 0, nullptr, nullptr);
  return openssl::TextOf(bio.get());
}

std::string CertificatePem(X509* certificate) {
  const openssl::Bio bio(BIO_new(BIO_s_mem()));
  PEM_write_bio_X509(bio.get(), certificate);
  return openssl::TextOf(bio.get());
}

Result<openssl::Key> ParseKey(std::string_view pem, std::string_view where) {
  const openssl::Bio bio = openssl::ReadFrom(pem);
  openssl::Key key(PEM_read_bio_PrivateKey(bio.get(), nullptr, NoPassphrase, nullptr));
  if (key == nullptr)
    return InvalidArgument("{}: expected a private key in PEM form ({})", where,
                           openssl::TakeErrors());
  return key;
}

bool SetSubject(X509_NAME* name, std::string_view cluster, std::string_view common_name) {
  const auto add = [name](int nid, std::string_view text) {
    return X509_NAME_add_entry_by_NID(name, nid, MBSTRING_UTF8,
                                      reinterpret_cast<const unsigned char*>(text.data()),
                                      static_cast<int>(text.size()), -1, 0) == 1;
  };
  return add(NID_organizationName, cluster) && add(NID_commonName, common_name);
}

Result<Subject> ReadSubject(const X509_NAME* name) {
  Subject subject;
  const int entries = X509_NAME_entry_count(name);
  for (int i = 0; i < entries; ++i) {
    const X509_NAME_ENTRY* entry = X509_NAME_get_entry(name, i);
    const int nid = OBJ_obj2nid(X509_NAME_ENTRY_get_object(entry));
    std::string text = Utf8(X509_NAME_ENTRY_get_data(entry));
    if (nid == NID_organizationName) subject.cluster = std::move(text);
    if (nid == NID_commonName) subject.common_name = std::move(text);
  }
  if (entries == 2 && !subject.cluster.empty() && !subject.common_name.empty()) return subject;
  return InvalidArgument(
      "subject: expected an organisation (the cluster) and a name, nothing else");
}

openssl::Names MakeNames(const std::vector<std::string>& dns_names,
                         const std::vector<std::string>& addresses) {
  openssl::Names names(sk_GENERAL_NAME_new_null());
  bool good = names != nullptr;
  for (const std::string& name : dns_names) good = good && Append(names.get(), GEN_DNS, name);
  for (const std::string& address : addresses) {
    const std::string ip = IpBytes(address);
    good = good && (ip.empty() ? Append(names.get(), GEN_DNS, address)
                               : Append(names.get(), GEN_IPADD, ip));
  }
  if (!good) names.reset();
  return names;
}

NamesRead ReadNames(const GENERAL_NAMES* names) {
  NamesRead read;
  for (int i = 0; i < sk_GENERAL_NAME_num(names); ++i) {
    const GENERAL_NAME* name = sk_GENERAL_NAME_value(names, i);
    if (name->type == GEN_DNS) {
      read.dns.push_back(BytesOf(name->d.dNSName));
      continue;
    }
    const std::string bytes = name->type == GEN_IPADD ? BytesOf(name->d.iPAddress) : std::string();
    std::array<char, INET6_ADDRSTRLEN> text{};
    if (bytes.size() == 4) {
      ::inet_ntop(AF_INET, bytes.data(), text.data(), text.size());
    } else if (bytes.size() == 16) {
      ::inet_ntop(AF_INET6, bytes.data(), text.data(), text.size());
    } else {
      read.others = true;
      continue;
    }
    read.ip.emplace_back(text.data());
  }
  return read;
}

}  // namespace evenkeel::pki
