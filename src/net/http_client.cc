#include "net/http_client.h"

#include <array>
#include <boost/asio/connect.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/ssl/error.hpp>
#include <boost/asio/ssl/stream.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/beast/core/flat_buffer.hpp>
#include <boost/beast/core/tcp_stream.hpp>
#include <boost/beast/http.hpp>
#include <optional>

#include "core/format.h"
#include "net/tls_context.h"

namespace evenkeel {
namespace {

namespace asio = boost::asio;
namespace beast = boost::beast;
namespace http = beast::http;
using boost::system::error_code;

constexpr Duration kLookEvery = std::chrono::milliseconds(50);

}  // namespace

Result<ServerAddress> ParseServerUrl(const std::string& url) {
  const bool tls = url.starts_with("https://");
  std::string_view rest = url;
  if (!tls && !rest.starts_with("http://"))
    return InvalidArgument("{}: expected http://HOST:PORT or https://HOST:PORT", url);
  rest.remove_prefix(tls ? 8 : 7);
  while (rest.ends_with('/')) rest.remove_suffix(1);
  if (rest.empty() || rest.find_first_of("/?#@ ") != std::string_view::npos) {
    return InvalidArgument("{}: expected http://HOST:PORT or https://HOST:PORT", url);
  }
  ServerAddress to{"", tls ? "443" : "80", std::string(rest), tls};
  const size_t bracket = rest.starts_with('[') ? rest.find(']') : 0;
  if (bracket == std::string_view::npos)
    return InvalidArgument("{}: expected http://[ADDRESS]:PORT", url);
  const size_t colon = rest.find(':', bracket);
  to.host = bracket > 0 ? rest.substr(1, bracket - 1) : rest.substr(0, colon);
  if (colon != std::string_view::npos) to.port = rest.substr(colon + 1);
  if (to.host.empty() || to.port.empty() || to.port.size() > 5 ||
      to.port.find_first_not_of("0123456789") != std::string::npos) {
    return InvalidArgument("{}: expected http://HOST:PORT or https://HOST:PORT", url);
  }
  return to;
}

namespace {

// One call, its steps chained by callbacks. With a sink the answer is handed on, and the time is that of a silence.
class Exchange {
 public:
  Exchange(const HttpCall& call, const ServerAddress& to, const HttpSink* sink)
      : call_(call), to_(to), sink_(sink) {}

  Result<HttpAnswer> Run() {
    if (to_.tls) EK_RETURN_IF_ERROR(PrepareTls());
    Fill();
    parser_.body_limit(call_.max_answer_bytes);
    parser_.header_limit(64 << 10);
    error_code error;
    const auto endpoints = resolver_.resolve(to_.host, to_.port, error);
    if (error) return Unavailable("{}: {}", call_.server, error.message());
    stream_.expires_after(call_.timeout);
    stream_.async_connect(endpoints, [this](error_code e, const auto&) {
      if (Good(e)) Secure();
    });
    Look();
    loop_.run();
    if (stopped_) return Cancelled("stopped");
    if (error_) return Explain();
    return std::move(answer_);
  }

 private:
  void Fill() {
    request_.method_string(call_.method);
    request_.target(call_.target);
    request_.version(11);
    request_.set(http::field::host, to_.header);
    request_.set(http::field::user_agent, "evenkeel/" EVENKEEL_VERSION);
    request_.set(http::field::connection, "close");
    if (!call_.bearer.empty()) request_.set(http::field::authorization, "Bearer " + call_.bearer);
    if (!call_.body.empty()) request_.set(http::field::content_type, call_.content_type);
    request_.body() = call_.body;
    request_.prepare_payload();
  }

  // Asks whether to go on, until the call is over.
  void Look() {
    if (sink_ == nullptr || !sink_->stopped) return;
    timer_.expires_after(kLookEvery);
    timer_.async_wait([this](error_code e) {
      // Cancelling comes too late for a timer that has just run out.
      if (e || over_) return;
      if (sink_->stopped()) return Stop();
      Look();
    });
  }
  void Stop() {
    stopped_ = true;
    Over();
  }
  void Over() {
    over_ = true;
    error_code ignored;
    stream_.socket().close(ignored);
    timer_.cancel();
  }
  bool Good(error_code e) {
    if (!e) return true;
    error_ = e;
    Over();
    return false;
  }

  void Rearm() {
    if (sink_ != nullptr) stream_.expires_after(call_.timeout);
  }
  // Reading and writing go through TLS where there is some.
  template <typename Use>
  void OnStream(const Use& use) {
    if (tls_) {
      use(*tls_);
    } else {
      use(stream_);
    }
  }
  Status PrepareTls() {
    const Result<openssl::Context> context = MakeTlsClientContext(call_.ca_file);
    if (!context.ok())
      return InvalidArgument("certificates to trust: {}", context.status().message());
    SSL_CTX_up_ref(context->get());  // Asio's owns one reference
    context_.emplace(context->get());
    tls_.emplace(stream_, *context_);
    if (ExpectTlsHost(tls_->native_handle(), to_.host)) return {};
    return InvalidArgument("{}: no certificate can be for such a name", call_.server);
  }
  void Secure() {
    if (!tls_) return Write();
    step_ = "agreeing on TLS";
    tls_->async_handshake(asio::ssl::stream_base::client, [this](error_code e) {
      secured_ = !e;
      if (Good(e)) Write();
    });
  }
  void Write() {
    step_ = "sending";
    OnStream([this](auto& stream) {
      http::async_write(stream, request_, [this](error_code e, size_t) {
        if (Good(e)) ReadHead();
      });
    });
  }
  void ReadHead() {
    step_ = "reading the answer";
    Rearm();
    OnStream([this](auto& stream) {
      http::async_read_header(stream, buffer_, parser_, [this](error_code e, size_t) {
        if (Good(e)) TakeHead();
      });
    });
  }
  void TakeHead() {
    answer_.status = static_cast<int>(parser_.get().result_int());
    for (const auto& field : parser_.get())
      answer_.headers.emplace_back(field.name_string(), field.value());
    ReadBody();
  }
  void ReadBody() {
    if (parser_.is_done()) return Over();
    Rearm();
    parser_.get().body().data = chunk_.data();
    parser_.get().body().size = chunk_.size();
    OnStream([this](auto& stream) {
      http::async_read_some(stream, buffer_, parser_, [this](error_code e, size_t) {
        if (Good(e == http::error::need_buffer ? error_code() : e)) TakePiece();
      });
    });
  }
  void TakePiece() {
    Take({chunk_.data(), chunk_.size() - parser_.get().body().size});
    if (sink_ != nullptr && sink_->stopped && sink_->stopped()) return Stop();
    ReadBody();
  }
  void Take(std::string_view piece) {
    if (piece.empty()) return;
    if (sink_ != nullptr && answer_.status >= 200 && answer_.status <= 299) {
      sink_->piece(piece);
    } else {
      answer_.body.append(piece);
    }
  }
  Status ExplainTls() {
    const long verdict = SSL_get_verify_result(tls_->native_handle());
    if (verdict == X509_V_ERR_HOSTNAME_MISMATCH || verdict == X509_V_ERR_IP_ADDRESS_MISMATCH)
      return {Code::kUnauthenticated,
              fmt::format("{}: the server's certificate is not for '{}'", call_.server, to_.host)};
    if (verdict != X509_V_OK)
      return {Code::kUnauthenticated,
              fmt::format("{}: the server's certificate is not trusted: {} (tls.ca_file names a "
                          "file of certificates to trust)",
                          call_.server, X509_verify_cert_error_string(verdict))};
    return Internal("{}: no TLS is spoken there ({}); is it http:// ?", call_.server,
                    error_.message());
  }
  Status Explain() {
    if (error_ == beast::error::timeout)
      return DeadlineExceeded("{}: {} {} s", call_.server,
                              sink_ != nullptr ? "nothing came for" : "no answer within",
                              Seconds(call_.timeout));
    if (error_ == http::error::partial_message || error_ == http::error::end_of_stream ||
        error_ == asio::ssl::error::stream_truncated)
      return Unavailable("{}: {}: the connection ended", call_.server, step_);
    if (!secured_ && error_.category() == asio::error::get_ssl_category()) return ExplainTls();
    const bool no_http = error_.category() == make_error_code(http::error::bad_version).category();
    return {no_http ? Code::kInternal : Code::kUnavailable,
            fmt::format("{}: {}: {}", call_.server, step_, error_.message())};
  }

  const HttpCall& call_;
  const ServerAddress& to_;
  const HttpSink* const sink_;  // null: the answer is wanted whole
  asio::io_context loop_{1};
  asio::ip::tcp::resolver resolver_{loop_};
  asio::steady_timer timer_{loop_};
  beast::tcp_stream stream_{loop_};
  std::optional<asio::ssl::context> context_;
  std::optional<asio::ssl::stream<beast::tcp_stream&>> tls_;  // over stream_
  beast::flat_buffer buffer_;
  std::array<char, 16 * 1024> chunk_{};
  http::request<http::string_body> request_;
  http::response_parser<http::buffer_body> parser_;
  HttpAnswer answer_;
  const char* step_ = "connecting";
  error_code error_;
  bool stopped_ = false;
  bool over_ = false;
  bool secured_ = false;  // TLS has been agreed on
};

Result<HttpAnswer> Run(const HttpCall& call, const HttpSink* sink) {
  const Result<ServerAddress> to = ParseServerUrl(call.server);
  if (!to.ok()) return to.status();
  try {
    return Exchange(call, *to, sink).Run();
  } catch (const std::exception& error) {
    return Internal("{}: {}", call.server, error.what());
  }
}

}  // namespace

Result<HttpAnswer> CallHttp(const HttpCall& call) { return Run(call, nullptr); }

Result<HttpAnswer> StreamHttp(const HttpCall& call, const HttpSink& sink) {
  return Run(call, &sink);
}

std::string EscapePathPart(std::string_view part) {
  constexpr std::string_view kPlain = "-._~";
  std::string text;
  for (const char c : part) {
    const bool letter = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
    if (letter || kPlain.find(c) != std::string_view::npos) {
      text += c;
    } else {
      text += fmt::format("%{:02X}", static_cast<unsigned char>(c));
    }
  }
  return text;
}

}  // namespace evenkeel
