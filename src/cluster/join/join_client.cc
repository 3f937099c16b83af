#include "cluster/join/join_client.h"

#include <openssl/pem.h>

#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>

#include "cluster/join/join_messages.h"
#include "cluster/pki/join_token.h"
#include "cluster/pki/peer_check.h"
#include "cluster/pki/signing_request.h"
#include "core/format.h"
#include "net/http_client.h"
#include "net/openssl.h"

namespace evenkeel {
namespace {

constexpr int kConnectSeconds = 10;
constexpr int kLookMilliseconds = 20;

// The last certificate that a TLS server shows, unchecked: what it is worth is for the token to say.
Result<std::string> ShownAuthority(const std::string& desk) {
  const openssl::Context context(SSL_CTX_new(TLS_client_method()), SSL_CTX_free);
  if (!context) return Unavailable("TLS: {}", openssl::TakeErrors());
  SSL_CTX_set_verify(context.get(), SSL_VERIFY_NONE, nullptr);
  const openssl::Bio connection(BIO_new_ssl_connect(context.get()));
  if (!connection) return Unavailable("TLS: {}", openssl::TakeErrors());
  BIO_set_conn_hostname(connection.get(), desk.c_str());
  BIO_set_nbio(connection.get(), 1);
  if (BIO_do_connect_retry(connection.get(), kConnectSeconds, kLookMilliseconds) != 1)
    return Unavailable("{}: no cluster can be joined there: {}", desk, openssl::TakeErrors());
  SSL* session = nullptr;
  BIO_get_ssl(connection.get(), &session);
  // Connecting without blocking may leave the handshake to the first use.
  for (int i = 0; i < kConnectSeconds * 1000 / kLookMilliseconds; ++i) {
    if (BIO_do_handshake(connection.get()) == 1) break;
    if (!BIO_should_retry(connection.get()))
      return Unavailable("{}: {}", desk, openssl::TakeErrors());
    BIO_wait(connection.get(), std::time(nullptr) + 1, kLookMilliseconds);
  }
  STACK_OF(X509)* const chain = SSL_get_peer_cert_chain(session);  // the session's
  if (chain == nullptr || sk_X509_num(chain) == 0)
    return Unauthenticated("{}: it shows no certificate", desk);
  const openssl::Bio text(BIO_new(BIO_s_mem()));
  if (!text || PEM_write_bio_X509(text.get(), sk_X509_value(chain, sk_X509_num(chain) - 1)) != 1)
    return Unavailable("TLS: {}", openssl::TakeErrors());
  return openssl::TextOf(text.get());
}

// A file that lives as long as this.
class ScratchFile {
 public:
  ScratchFile(const std::string& folder, const std::string& text)
      : path_(folder + "/joining.authority.pem") {
    std::ofstream(path_) << text;
  }
  ~ScratchFile() {
    std::error_code ignored;
    std::filesystem::remove(path_, ignored);
  }
  ScratchFile(const ScratchFile&) = delete;
  ScratchFile& operator=(const ScratchFile&) = delete;
  const std::string& path() const { return path_; }

 private:
  const std::string path_;
};

Code CodeOfStatus(int http) {
  switch (http) {
    case 400: return Code::kInvalidArgument;
    case 401: return Code::kUnauthenticated;
    case 409: return Code::kConflict;
    default: return Code::kUnavailable;
  }
}

Result<JoinAnswer> Ask(const std::string& desk, const std::string& authority_file,
                       const JoinRequest& request) {
  HttpCall call;
  call.server = "https://" + desk;
  call.ca_file = authority_file;
  call.method = "POST";
  call.target = "/join";
  call.body = WriteJoinRequest(request);
  call.timeout = std::chrono::seconds(20);
  call.max_answer_bytes = kMostJoinBytes;
  const auto answer = CallHttp(call);
  if (!answer.ok()) return answer.status();
  if (answer->status == 200) return ParseJoinAnswer(answer->body);
  const auto said = nlohmann::json::parse(answer->body, nullptr, false);
  const bool told = said.is_object() && said.contains("error") && said["error"].is_string();
  return Status(CodeOfStatus(answer->status),
                fmt::format("{} does not let this node in: {}", desk,
                            told ? said["error"].get<std::string>()
                                 : fmt::format("HTTP {}", answer->status)));
}

}  // namespace

Result<Joined> JoinCluster(const std::string& desk, std::string_view token, const NodeAddress& own,
                           const std::string& scratch) {
  const auto parsed = pki::ParseJoinToken(token);
  if (!parsed.ok()) return parsed.status();
  const auto address = ParseHostPort(own.address);
  if (!address.ok()) return address.status().Annotate("--address");
  const auto authority = ShownAuthority(desk);
  if (!authority.ok()) return authority.status();
  EK_RETURN_IF_ERROR(pki::CheckAuthority(*parsed, *authority));
  const auto check = pki::PeerCheck::Create(*authority);
  if (!check.ok()) return check.status();
  auto made = pki::MakeSigningRequest({check->cluster(), own.name, {address->host}});
  if (!made.ok()) return made.status();
  const ScratchFile trusted(scratch, *authority);
  const auto answer =
      Ask(desk, trusted.path(), {std::string(token), made->request_pem, own.address});
  if (!answer.ok()) return answer.status();
  auto certificate = pki::NodeCertificate::Create(answer->chain_pem, made->key_pem);
  if (!certificate.ok()) return certificate.status().Annotate("the certificate that was given");
  if (certificate->node != own.name || certificate->cluster != check->cluster())
    return Unauthenticated("the certificate that was given is for node '{}' of cluster '{}'",
                           certificate->node, certificate->cluster);
  Joined joined{std::move(*certificate), {}};
  joined.home = {check->cluster(), own, answer->nodes};
  return joined;
}

}  // namespace evenkeel
