#include "net/tls_context.h"

#include <arpa/inet.h>

#include "core/format.h"
#include "core/log.h"

namespace evenkeel {
namespace {

constexpr Duration kLookEvery = std::chrono::seconds(2);
// Of TLS 1.2; those of 1.3 are all good.
constexpr const char* kCiphers = "ECDHE+AESGCM:ECDHE+CHACHA20";
constexpr unsigned char kHttp11[] = {8, 'h', 't', 't', 'p', '/', '1', '.', '1'};
constexpr unsigned char kSessionContext[] = "evenkeel";

// A client that names protocols and not this one would not understand a word.
int SelectProtocol(SSL*, const unsigned char** out, unsigned char* size, const unsigned char* in,
                   unsigned int in_size, void*) {
  unsigned char* chosen = nullptr;
  if (SSL_select_next_proto(&chosen, size, kHttp11, sizeof kHttp11, in, in_size) !=
      OPENSSL_NPN_NEGOTIATED)
    return SSL_TLSEXT_ERR_ALERT_FATAL;
  *out = chosen;
  return SSL_TLSEXT_ERR_OK;
}

openssl::Context NewContext(const SSL_METHOD* method) {
  openssl::Context context(SSL_CTX_new(method), SSL_CTX_free);
  if (context == nullptr) return nullptr;
  SSL_CTX* raw = context.get();
  SSL_CTX_set_min_proto_version(raw, TLS1_2_VERSION);
  SSL_CTX_set_cipher_list(raw, kCiphers);
  SSL_CTX_set_options(raw, SSL_OP_NO_COMPRESSION | SSL_OP_NO_RENEGOTIATION);
  return context;
}

Status UsePair(SSL_CTX* raw, const TlsPair& pair, const std::string& file) {
  bool good = SSL_CTX_use_certificate(raw, pair.chain.front().get()) == 1 &&
              SSL_CTX_use_PrivateKey(raw, pair.key.get()) == 1;
  for (size_t i = 1; good && i < pair.chain.size(); ++i)
    good = SSL_CTX_add1_chain_cert(raw, pair.chain[i].get()) == 1;
  if (good) return Status::Ok();
  return InvalidArgument("'{}': {}", file, openssl::TakeErrors());
}

}  // namespace

TlsServerContext::TlsServerContext(TlsPairFiles files, const Clock& clock)
    : files_(std::move(files)), clock_(clock) {}

Result<std::unique_ptr<TlsServerContext>> TlsServerContext::Load(TlsPairFiles files,
                                                                 const Clock& clock) {
  std::unique_ptr<TlsServerContext> context(new TlsServerContext(std::move(files), clock));
  context->stamp_ = context->Stamp();
  Result<Loaded> loaded = LoadFiles(context->files_);
  if (!loaded.ok()) return loaded.status();
  context->loaded_ = std::move(*loaded);
  context->looked_ = clock.Now();
  return context;
}

Result<TlsServerContext::Loaded> TlsServerContext::LoadFiles(const TlsPairFiles& files) {
  const Result<TlsPair> pair = ReadTlsPair(files);
  if (!pair.ok()) return pair.status();
  Loaded loaded;
  loaded.context = NewContext(TLS_server_method());
  if (loaded.context == nullptr) return Internal("TLS: {}", openssl::TakeErrors());
  SSL_CTX* raw = loaded.context.get();
  EK_RETURN_IF_ERROR(UsePair(raw, *pair, files.certificate));
  SSL_CTX_set_options(raw, SSL_OP_CIPHER_SERVER_PREFERENCE | SSL_OP_PRIORITIZE_CHACHA);
  SSL_CTX_set_alpn_select_cb(raw, SelectProtocol, nullptr);
  // What is resumed lies in tickets, at the clients.
  SSL_CTX_set_session_cache_mode(raw, SSL_SESS_CACHE_OFF);
  SSL_CTX_set_num_tickets(raw, 1);
  SSL_CTX_set_session_id_context(raw, kSessionContext, sizeof kSessionContext - 1);
  loaded.facts = FactsOf(pair->chain.front().get());
  return loaded;
}

std::string TlsServerContext::Stamp() const {
  return FileStamp(files_.certificate) + "|" + FileStamp(files_.key);
}

openssl::Context TlsServerContext::Current() {
  const Time now = clock_.Now();
  openssl::Context present;
  std::string seen;
  {
    const std::lock_guard lock(mutex_);
    present = loaded_.context;
    if (now - looked_ < kLookEvery) return present;
    looked_ = now;
    seen = stamp_;
  }
  // From here on others have the present one.
  std::string stamp = Stamp();
  if (stamp == seen) return present;
  Result<Loaded> loaded = LoadFiles(files_);
  if (loaded.ok()) {
    LogInfo("TLS: '{}' has changed and is in use: {}", files_.certificate, loaded->facts.subject);
  } else {
    LogWarning("TLS: the changed files are not used, the last good ones stay: {}",
               loaded.status().message());
  }
  const std::lock_guard lock(mutex_);
  stamp_ = std::move(stamp);
  if (loaded.ok()) loaded_ = std::move(*loaded);
  return loaded_.context;
}

CertificateFacts TlsServerContext::facts() const {
  const std::lock_guard lock(mutex_);
  return loaded_.facts;
}

Result<openssl::Context> MakeTlsClientContext(const std::string& authorities) {
  openssl::Context context = NewContext(TLS_client_method());
  if (context == nullptr) return Internal("TLS: {}", openssl::TakeErrors());
  SSL_CTX_set_verify(context.get(), SSL_VERIFY_PEER, nullptr);
  if (authorities.empty()) {
    SSL_CTX_set_default_verify_paths(context.get());
    return context;
  }
  const Result<std::vector<openssl::Certificate>> trusted = ReadCertificates(authorities);
  if (!trusted.ok()) return trusted.status();
  X509_STORE* const store = SSL_CTX_get_cert_store(context.get());
  for (const openssl::Certificate& each : *trusted) X509_STORE_add_cert(store, each.get());
  // A certificate that is given by name is trusted, whoever signed it.
  X509_VERIFY_PARAM_set_flags(SSL_CTX_get0_param(context.get()), X509_V_FLAG_PARTIAL_CHAIN);
  openssl::TakeErrors();  // one that is there twice is none
  return context;
}

bool ExpectTlsHost(SSL* session, const std::string& host) {
  in6_addr address{};
  X509_VERIFY_PARAM* const expected = SSL_get0_param(session);
  if (::inet_pton(AF_INET, host.c_str(), &address) == 1 ||
      ::inet_pton(AF_INET6, host.c_str(), &address) == 1)
    return X509_VERIFY_PARAM_set1_ip_asc(expected, host.c_str()) == 1;
  X509_VERIFY_PARAM_set_hostflags(expected, X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS);
  return X509_VERIFY_PARAM_set1_host(expected, host.c_str(), host.size()) == 1 &&
         SSL_set_tlsext_host_name(session, host.c_str()) == 1;
}

}  // namespace evenkeel
