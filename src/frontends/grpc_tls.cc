#include "frontends/grpc_tls.h"

#include <grpc/grpc.h>
#include <grpc/grpc_security.h>
#include <openssl/pem.h>

#include <utility>

#include "core/format.h"
#include "core/log.h"
#include "net/openssl.h"

namespace evenkeel {
namespace {

constexpr Duration kLookEvery = std::chrono::seconds(2);

// gRPC's C API can ask for a pair at each connection; its C++ API has no word for that.
class AskingCredentials final : public grpc::ServerCredentials {
 public:
  explicit AskingCredentials(GrpcTlsPair* pair)
      : credentials_(grpc_ssl_server_credentials_create_with_options(
            grpc_ssl_server_credentials_create_options_using_config_fetcher(
                GRPC_SSL_DONT_REQUEST_CLIENT_CERTIFICATE, &AskingCredentials::Ask, pair))) {}
  ~AskingCredentials() override { grpc_server_credentials_release(credentials_); }
  AskingCredentials(const AskingCredentials&) = delete;
  AskingCredentials& operator=(const AskingCredentials&) = delete;

  // Keys of callers are looked at by the front end.
  void SetAuthMetadataProcessor(
      const std::shared_ptr<grpc::AuthMetadataProcessor>& /*processor*/) override {}

 private:
  int AddPortToServer(const std::string& address, grpc_server* server) override {
    return grpc_server_add_http2_port(server, address.c_str(), credentials_);
  }

  static grpc_ssl_certificate_config_reload_status Ask(
      void* pair, grpc_ssl_server_certificate_config** config) {
    const auto pem = static_cast<GrpcTlsPair*>(pair)->Take();
    if (!pem) return GRPC_SSL_CERTIFICATE_CONFIG_RELOAD_UNCHANGED;
    const grpc_ssl_pem_key_cert_pair one{pem->key.c_str(), pem->chain.c_str()};
    *config = grpc_ssl_server_certificate_config_create(nullptr, &one, 1);
    return GRPC_SSL_CERTIFICATE_CONFIG_RELOAD_NEW;
  }

  grpc_server_credentials* const credentials_;
};

}  // namespace

Result<std::unique_ptr<GrpcTlsPair>> GrpcTlsPair::Load(TlsPairFiles files, const Clock& clock) {
  std::unique_ptr<GrpcTlsPair> pair(new GrpcTlsPair(std::move(files), clock));
  pair->stamp_ = pair->Stamp();
  Result<Pem> read = pair->Read();
  if (!read.ok()) return read.status();
  pair->fresh_ = std::move(*read);
  pair->looked_ = clock.Now();
  return pair;
}

std::shared_ptr<grpc::ServerCredentials> GrpcTlsPair::Credentials() {
  return std::make_shared<AskingCredentials>(this);
}

std::optional<GrpcTlsPair::Pem> GrpcTlsPair::Take() {
  const Time now = clock_.Now();
  std::string seen;
  {
    const std::lock_guard lock(mutex_);
    if (fresh_) return std::exchange(fresh_, std::nullopt);
    if (now - looked_ < kLookEvery) return std::nullopt;
    looked_ = now;
    seen = stamp_;
  }
  std::string stamp = Stamp();
  if (stamp == seen) return std::nullopt;
  Result<Pem> read = Read();
  {
    const std::lock_guard lock(mutex_);
    stamp_ = std::move(stamp);
  }
  if (!read.ok()) {
    LogWarning("TLS (gRPC): the changed files are not used, the last good ones stay: {}",
               read.status().message());
    return std::nullopt;
  }
  LogInfo("TLS (gRPC): '{}' has changed and is in use", files_.certificate);
  return std::move(*read);
}

// What was checked is what is presented: gRPC gets no file to read for itself.
Result<GrpcTlsPair::Pem> GrpcTlsPair::Read() const {
  const Result<TlsPair> pair = ReadTlsPair(files_);
  if (!pair.ok()) return pair.status();
  const openssl::Bio chain(BIO_new(BIO_s_mem())), key(BIO_new(BIO_s_mem()));
  bool good = chain && key;
  for (const openssl::Certificate& one : pair->chain)
    good = good && PEM_write_bio_X509(chain.get(), one.get()) == 1;
  good = good && PEM_write_bio_PKCS8PrivateKey(key.get(), pair->key.get(), nullptr, nullptr, 0,
                                               nullptr, nullptr) == 1;
  if (!good) return Internal("TLS: {}", openssl::TakeErrors());
  return Pem{openssl::TextOf(chain.get()), openssl::TextOf(key.get())};
}

std::string GrpcTlsPair::Stamp() const {
  return FileStamp(files_.certificate) + "|" + FileStamp(files_.key);
}

}  // namespace evenkeel
