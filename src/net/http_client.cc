#include "net/http_client.h"

#include <boost/asio/connect.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/beast/core/flat_buffer.hpp>
#include <boost/beast/core/tcp_stream.hpp>
#include <boost/beast/http.hpp>
#include <functional>
#include <optional>

#include "core/format.h"

namespace evenkeel {
namespace {

namespace asio = boost::asio;
namespace beast = boost::beast;
namespace http = beast::http;
using boost::system::error_code;

}  // namespace

Result<ServerAddress> ParseServerUrl(const std::string& url) {
  constexpr std::string_view kScheme = "http://";
  if (url.starts_with("https://"))
    return Unsupported("{}: https is not supported, use http://", url);
  std::string_view rest = url;
  if (!rest.starts_with(kScheme)) return InvalidArgument("{}: expected http://HOST:PORT", url);
  rest.remove_prefix(kScheme.size());
  while (rest.ends_with('/')) rest.remove_suffix(1);
  if (rest.empty() || rest.find_first_of("/?#@ ") != std::string_view::npos) {
    return InvalidArgument("{}: expected http://HOST:PORT", url);
  }
  ServerAddress to{"", "80", std::string(rest)};
  const size_t bracket = rest.starts_with('[') ? rest.find(']') : 0;
  if (bracket == std::string_view::npos)
    return InvalidArgument("{}: expected http://[ADDRESS]:PORT", url);
  const size_t colon = rest.find(':', bracket);
  to.host = bracket > 0 ? rest.substr(1, bracket - 1) : rest.substr(0, colon);
  if (colon != std::string_view::npos) to.port = rest.substr(colon + 1);
  if (to.host.empty() || to.port.empty() || to.port.size() > 5 ||
      to.port.find_first_not_of("0123456789") != std::string::npos) {
    return InvalidArgument("{}: expected http://HOST:PORT", url);
  }
  return to;
}

namespace {

// One call, its steps chained by callbacks so that the stream's timer covers them all.
class Exchange {
 public:
  Exchange(const HttpCall& call, const ServerAddress& to) : call_(call), to_(to) {}

  Result<HttpAnswer> Run() {
    Fill();
    parser_.body_limit(call_.max_answer_bytes);
    parser_.header_limit(64 << 10);
    error_code error;
    const auto endpoints = resolver_.resolve(to_.host, to_.port, error);
    if (error) return Unavailable("{}: {}", call_.server, error.message());
    stream_.expires_after(call_.timeout);
    stream_.async_connect(endpoints,
                          [this](error_code e, const auto&) { Next(e, [this] { Write(); }); });
    loop_.run();
    if (error_) return Explain();
    HttpAnswer answer;
    answer.status = static_cast<int>(parser_.get().result_int());
    for (const auto& field : parser_.get()) {
      answer.headers.emplace_back(field.name_string(), field.value());
    }
    answer.body = std::move(parser_.get().body());
    return answer;
  }

 private:
  void Fill() {
    request_.method_string(call_.method);
    request_.target(call_.target);
    request_.version(11);
    request_.set(http::field::host, to_.header);
    request_.set(http::field::user_agent, "evenkeel/" EVENKEEL_VERSION);
    request_.set(http::field::connection, "close");
    if (!call_.body.empty()) request_.set(http::field::content_type, call_.content_type);
    request_.body() = call_.body;
    request_.prepare_payload();
  }
  void Next(error_code error, const std::function<void()>& step) {
    error_ = error;
    if (!error) step();
  }
  void Write() {
    step_ = "sending";
    http::async_write(stream_, request_,
                      [this](error_code e, size_t) { Next(e, [this] { Read(); }); });
  }
  void Read() {
    step_ = "reading the answer";
    http::async_read(stream_, buffer_, parser_, [this](error_code e, size_t) { Next(e, [] {}); });
  }
  Status Explain() const {
    if (error_ == beast::error::timeout) {
      return DeadlineExceeded("{}: no answer within {} s", call_.server, Seconds(call_.timeout));
    }
    const bool no_http = error_.category() == make_error_code(http::error::bad_version).category();
    const std::string text = fmt::format("{}: {}: {}", call_.server, step_, error_.message());
    if (no_http && error_ != http::error::end_of_stream) return {Code::kInternal, text};
    return {Code::kUnavailable, text};
  }

  const HttpCall& call_;
  const ServerAddress& to_;
  asio::io_context loop_{1};
  asio::ip::tcp::resolver resolver_{loop_};
  beast::tcp_stream stream_{loop_};
  beast::flat_buffer buffer_;
  http::request<http::string_body> request_;
  http::response_parser<http::string_body> parser_;
  const char* step_ = "connecting";
  error_code error_;
};

}  // namespace

Result<HttpAnswer> CallHttp(const HttpCall& call) {
  const Result<ServerAddress> to = ParseServerUrl(call.server);
  if (!to.ok()) return to.status();
  try {
    return Exchange(call, *to).Run();
  } catch (const std::exception& error) {
    return Internal("{}: {}", call.server, error.what());
  }
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
