// A certificate with its key, made for a test, as files in a folder of its own.
// Thread-safety: single-owner.
#pragma once

#include <gtest/gtest.h>
#include <openssl/pem.h>
#include <unistd.h>

#include <chrono>
#include <cstdio>
#include <filesystem>
#include <string>

#include "core/check.h"
#include "net/openssl.h"
#include "net/tls_files.h"

namespace evenkeel {

class TlsTestPair {
 public:
  struct Wanted {
    std::string name = "test";  // common name
    std::string names = "DNS:localhost,IP:127.0.0.1,IP:::1";
    std::chrono::seconds from{-60}, to{std::chrono::hours(24)};  // validity, from now
  };

  TlsTestPair() : TlsTestPair(Wanted()) {}
  explicit TlsTestPair(const Wanted& wanted) {
    std::string folder = testing::TempDir() + "/tls_pair_XXXXXX";
    EK_CHECK(::mkdtemp(folder.data()) != nullptr);
    folder_ = folder;
    files_ = {folder_ + "/cert.pem", folder_ + "/key.pem"};
    Write(wanted);
  }
  ~TlsTestPair() { std::filesystem::remove_all(folder_); }
  TlsTestPair(const TlsTestPair&) = delete;
  TlsTestPair& operator=(const TlsTestPair&) = delete;

  const TlsPairFiles& files() const { return files_; }
  const std::string& folder() const { return folder_; }

  // Another pair in the same files, signed by itself.
  void Write(const Wanted& wanted) {
    const openssl::Key key(EVP_EC_gen("P-256"));
    const openssl::Certificate certificate(X509_new());
    X509* const raw = certificate.get();
    X509_set_version(raw, 2);
    static long serial = 0;
    ASN1_INTEGER_set(X509_get_serialNumber(raw), ++serial);
    X509_gmtime_adj(X509_getm_notBefore(raw), wanted.from.count());
    X509_gmtime_adj(X509_getm_notAfter(raw), wanted.to.count());
    X509_set_pubkey(raw, key.get());
    X509_NAME* const subject = X509_get_subject_name(raw);
    X509_NAME_add_entry_by_txt(subject, "CN", MBSTRING_UTF8,
                               reinterpret_cast<const unsigned char*>(wanted.name.c_str()), -1, -1,
                               0);
    X509_set_issuer_name(raw, subject);
    if (!wanted.names.empty()) Add(raw, NID_subject_alt_name, wanted.names);
    Add(raw, NID_basic_constraints, "critical,CA:TRUE");
    EK_CHECK(X509_sign(raw, key.get(), EVP_sha256()) > 0);
    const openssl::Bio chain(BIO_new(BIO_s_mem())), secret(BIO_new(BIO_s_mem()));
    PEM_write_bio_X509(chain.get(), raw);
    PEM_write_bio_PKCS8PrivateKey(secret.get(), key.get(), nullptr, nullptr, 0, nullptr, nullptr);
    Replace(files_.key, openssl::TextOf(secret.get()));
    Replace(files_.certificate, openssl::TextOf(chain.get()));
  }

  static void Replace(const std::string& path, const std::string& text) {
    const std::string beside = path + ".new";
    std::FILE* const file = std::fopen(beside.c_str(), "w");
    EK_CHECK(file != nullptr && std::fwrite(text.data(), 1, text.size(), file) == text.size());
    std::fclose(file);
    std::filesystem::rename(beside, path);
  }

 private:
  static void Add(X509* certificate, int nid, const std::string& value) {
    X509V3_CTX context;
    X509V3_set_ctx(&context, certificate, certificate, nullptr, nullptr, 0);
    X509V3_set_ctx_nodb(&context);
    X509_EXTENSION* const extension = X509V3_EXT_conf_nid(nullptr, &context, nid, value.c_str());
    EK_CHECK(extension != nullptr && X509_add_ext(certificate, extension, -1) == 1);
    X509_EXTENSION_free(extension);
  }

  std::string folder_;
  TlsPairFiles files_;
};

}  // namespace evenkeel
