#include "cluster/join/join_client.h"

#include <openssl/pem.h>

#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/address.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/ssl/context.hpp>
#include <boost/asio/ssl/stream.hpp>
#include <boost/beast/core/tcp_stream.hpp>
#include <chrono>
#include <exception>
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

namespace asio = boost::asio;
namespace beast = boost::beast;
using boost::system::error_code;

constexpr Duration kLookTime = std::chrono::seconds(10);

// By Asio, which wants no SIGPIPE: OpenSSL's own sockets would end this program where the other side hangs up.
Result<std::string> LookAt(const std::string& desk) {
  const auto where = ParseHostPort(desk);
  if (!where.ok()) return where.status();
  asio::io_context loop(1);
  asio::ssl::context context(asio::ssl::context::tls_client);
  context.set_verify_mode(asio::ssl::verify_none);
  beast::tcp_stream socket(loop);
  asio::ssl::stream<beast::tcp_stream&> session(socket, context);
  error_code error;
  socket.expires_after(kLookTime);
  socket.async_connect(asio::ip::tcp::endpoint(asio::ip::make_address(where->host),
                                               static_cast<asio::ip::port_type>(where->port)),
                       [&](error_code connected) {
                         error = connected;
                         if (connected) return;
                         session.async_handshake(asio::ssl::stream_base::client,
                                                 [&](error_code agreed) { error = agreed; });
                       });
  loop.run();
  if (error) return Unavailable("{}: no cluster can be joined there: {}", desk, error.message());
  STACK_OF(X509)* const chain = SSL_get_peer_cert_chain(session.native_handle());  // the session's
  if (chain == nullptr || sk_X509_num(chain) == 0)
    return Unauthenticated("{}: it shows no certificate", desk);
  const openssl::Bio text(BIO_new(BIO_s_mem()));
  if (!text || PEM_write_bio_X509(text.get(), sk_X509_value(chain, sk_X509_num(chain) - 1)) != 1)
    return Unavailable("TLS: {}", openssl::TakeErrors());
  return openssl::TextOf(text.get());
}

// The last certificate that a TLS server shows, unchecked: what it is worth is for the token to say.
Result<std::string> ShownAuthority(const std::string& desk) {
  try {
    return LookAt(desk);
  } catch (const std::exception& error) {
    return Unavailable("{}: {}", desk, error.what());
  }
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
  // Create() holds it to the authority that came with it, which is not to be believed: the token's is, here and in all that this node will do.
  if (certificate->authority_pem != *authority)
    return Unauthenticated("the certificate that was given is not of the token's cluster");
  const auto now = std::chrono::floor<std::chrono::seconds>(std::chrono::system_clock::now());
  EK_RETURN_IF_ERROR(check->Expect(own.name, certificate->chain_pem, pki::PeerRole::kServer, now)
                         .Annotate("the certificate that was given"));
  Joined joined{std::move(*certificate), {}};
  joined.home = {check->cluster(), own, answer->nodes, answer->store, {}};
  return joined;
}

}  // namespace evenkeel
