#include "net/http_stream_client.h"

#include <array>
#include <boost/asio/connect.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/beast/core/flat_buffer.hpp>
#include <boost/beast/core/tcp_stream.hpp>
#include <boost/beast/http.hpp>

#include "core/format.h"

namespace evenkeel {
namespace {

namespace asio = boost::asio;
namespace beast = boost::beast;
namespace http = beast::http;
using boost::system::error_code;

constexpr Duration kLookEvery = std::chrono::milliseconds(50);

class StreamExchange {
 public:
  StreamExchange(const HttpCall& call, const ServerAddress& to, const HttpSink& sink)
      : call_(call), to_(to), sink_(sink) {}

  Result<HttpAnswer> Run() {
    Fill();
    parser_.body_limit(call_.max_answer_bytes);
    parser_.header_limit(64 << 10);
    error_code error;
    const auto endpoints = resolver_.resolve(to_.host, to_.port, error);
    if (error) return Unavailable("{}: {}", call_.server, error.message());
    stream_.expires_after(call_.timeout);
    stream_.async_connect(endpoints, [this](error_code e, const auto&) {
      if (Good(e)) Write();
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
    if (!call_.body.empty()) request_.set(http::field::content_type, call_.content_type);
    request_.body() = call_.body;
    request_.prepare_payload();
  }

  // Asks whether to go on, until the call is over.
  void Look() {
    if (!sink_.stopped) return;
    timer_.expires_after(kLookEvery);
    timer_.async_wait([this](error_code e) {
      // Cancelling comes too late for a timer that has just run out.
      if (e || over_) return;
      if (sink_.stopped()) return Stop();
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

  void Write() {
    step_ = "sending";
    http::async_write(stream_, request_, [this](error_code e, size_t) {
      if (Good(e)) ReadHead();
    });
  }
  void ReadHead() {
    step_ = "reading the answer";
    stream_.expires_after(call_.timeout);
    http::async_read_header(stream_, buffer_, parser_, [this](error_code e, size_t) {
      if (!Good(e)) return;
      answer_.status = static_cast<int>(parser_.get().result_int());
      for (const auto& field : parser_.get())
        answer_.headers.emplace_back(field.name_string(), field.value());
      ReadBody();
    });
  }
  void ReadBody() {
    if (parser_.is_done()) return Over();
    stream_.expires_after(call_.timeout);
    parser_.get().body().data = chunk_.data();
    parser_.get().body().size = chunk_.size();
    http::async_read_some(stream_, buffer_, parser_, [this](error_code e, size_t) {
      if (e == http::error::need_buffer) e = {};
      if (!Good(e)) return;
      Take({chunk_.data(), chunk_.size() - parser_.get().body().size});
      if (sink_.stopped && sink_.stopped()) return Stop();
      ReadBody();
    });
  }
  void Take(std::string_view piece) {
    if (piece.empty()) return;
    if (answer_.status >= 200 && answer_.status <= 299) {
      sink_.piece(piece);
    } else {
      answer_.body.append(piece);
    }
  }
  Status Explain() const {
    if (error_ == beast::error::timeout)
      return DeadlineExceeded("{}: nothing came for {} s", call_.server, Seconds(call_.timeout));
    if (error_ == http::error::partial_message || error_ == http::error::end_of_stream)
      return Unavailable("{}: {}: the connection ended", call_.server, step_);
    const bool no_http = error_.category() == make_error_code(http::error::bad_version).category();
    return {no_http ? Code::kInternal : Code::kUnavailable,
            fmt::format("{}: {}: {}", call_.server, step_, error_.message())};
  }

  const HttpCall& call_;
  const ServerAddress& to_;
  const HttpSink& sink_;
  asio::io_context loop_{1};
  asio::ip::tcp::resolver resolver_{loop_};
  asio::steady_timer timer_{loop_};
  beast::tcp_stream stream_{loop_};
  beast::flat_buffer buffer_;
  std::array<char, 16 * 1024> chunk_{};
  http::request<http::string_body> request_;
  http::response_parser<http::buffer_body> parser_;
  HttpAnswer answer_;
  const char* step_ = "connecting";
  error_code error_;
  bool stopped_ = false;
  bool over_ = false;
};

}  // namespace

Result<HttpAnswer> StreamHttp(const HttpCall& call, const HttpSink& sink) {
  const Result<ServerAddress> to = ParseServerUrl(call.server);
  if (!to.ok()) return to.status();
  try {
    return StreamExchange(call, *to, sink).Run();
  } catch (const std::exception& error) {
    return Internal("{}: {}", call.server, error.what());
  }
}

}  // namespace evenkeel
