// One HTTP request being answered, as handlers see it, whatever server carries it.
//
// Contract: HttpHandler::Handle() must lead to exactly one answer, at once or later, on any thread: one
//   Respond(), or one StartStream(), any number of Send() and one EndStream(). The call and everything
//   it shows (fields, body) stay valid until Respond() or EndStream() is entered, and are not touched
//   by the handler afterwards.
// Thread-safety: the answer and gone() from any thread, but one call of a stream at a time; the rest on
//   the thread that holds the call.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "core/clock.h"
#include "core/status.h"

namespace evenkeel {

enum class HttpMethod : uint8_t { kGet, kHead, kPost, kPut, kDelete, kOptions, kPatch, kOther };

struct HttpField {
  std::string_view name;  // as sent; compare with EqualsNoCase
  std::string_view value;
};

bool EqualsNoCase(std::string_view a, std::string_view b);
// Whether a comma-separated list such as Accept-Encoding names `token` with a weight other than 0.
bool ListNames(std::string_view list, std::string_view token);
// "%2F" to "/"; false for a broken escape.
bool PercentDecode(std::string_view text, std::string* out);

// Appends `text` as a JSON string with its quotes. Bytes that are not UTF-8 become '?'.
void AppendJsonString(std::string_view text, std::string* out);

// The head of a request. The views point into the bytes it was parsed from.
struct HttpHead {
  HttpMethod method = HttpMethod::kOther;
  std::string_view method_name;
  std::string_view target;
  std::string_view path;   // target up to '?', still percent-encoded
  std::string_view query;  // after '?'
  std::vector<HttpField> fields;
  bool http11 = true;
  bool keep_alive = true;
  bool chunked = false;
  bool expect_continue = false;
  bool has_length = false;
  uint64_t length = 0;

  // The first field of that name, or empty.
  std::string_view Find(std::string_view name) const;
};

struct HttpResponse {
  int status = 200;
  std::string_view content_type = "application/json";  // a literal; empty: the field is left out
  std::string headers;                                 // further fields, each "Name: value\r\n"
  std::string body;
};

// What keeps a stream alive while nothing is to be said, and tells a client that has vanished from one
// that waits.
struct HttpHeartbeat {
  std::string text;  // sent as a piece of its own
  Duration every{};  // after so long without a piece; zero: never
};

// What a 401 has to say of how to come in.
inline constexpr const char* kBearerChallenge = "WWW-Authenticate: Bearer realm=\"evenkeel\"\r\n";

// {"error":"..."} with the status's own code, Retry-After where a retry may help, and the challenge of a 401.
HttpResponse JsonError(int http_status, std::string_view message);

// What a handler keeps for one request. Owned by its call.
class HttpWork {
 public:
  virtual ~HttpWork() = default;
  // The client left before the answer, or does not read the stream that it gets. Respond() or
  // EndStream() is still due (it is not sent). Runs on the connection's loop, never after the call's
  // answer was taken; it may be on its way on another thread meanwhile.
  virtual void OnCancel() = 0;
};

class HttpExchange {
 public:
  virtual ~HttpExchange() = default;

  const HttpHead& head() const { return head_; }
  std::string_view Header(std::string_view name) const { return head_.Find(name); }
  std::span<const std::byte> body() const { return body_; }
  // When the head had been read.
  Time received() const { return received_; }

  // Keeps `work` until after the response. At most once, and before Handle() returns.
  void Own(std::unique_ptr<HttpWork> work) { work_ = std::move(work); }

  // Exactly once. Does not block.
  virtual void Respond(HttpResponse response) = 0;

  // An answer in pieces: in chunks, or up to the connection's end for HTTP/1.0. None of these blocks.
  // `head.body` is the first piece; nothing is sent of the pieces if the request was a HEAD.
  virtual void StartStream(HttpResponse head, HttpHeartbeat heartbeat) = 0;
  // False: this and what follows goes nowhere, for the client left, or more is unsent than
  // HttpLimits::stream_bytes (then the connection is closed and the work cancelled). EndStream() is
  // still due.
  virtual bool Send(std::string_view piece) = 0;
  // `trailers`: whole lines, each with its CRLF, of fields that the head's Trailer field announced. They are
  // sent behind the pieces where those go in chunks, and dropped elsewhere.
  virtual void EndStream(std::string trailers) = 0;
  void EndStream() { EndStream(std::string()); }

  // The client has left: the answer will go nowhere.
  virtual bool gone() const = 0;

 protected:
  HttpHead head_;
  std::span<const std::byte> body_;
  Time received_{};
  std::unique_ptr<HttpWork> work_;
};

class HttpHandler {
 public:
  virtual ~HttpHandler() = default;
  virtual void Handle(HttpExchange& call) = 0;
  // Asked about a request with a body that is large or to be unfolded, before any of it is read: an error is the answer (in the words of
  // Refusal), and the end of the connection. Any loop's thread; does not block.
  virtual Status Admit(const HttpHead& head) {
    static_cast<void>(head);
    return {};
  }
  // The answer to a request that never becomes one: malformed, too large, too slow. `path` is empty
  // where it is not known. Any loop's thread.
  virtual HttpResponse Refusal(std::string_view path, int http_status, std::string_view message) {
    static_cast<void>(path);
    return JsonError(http_status, message);
  }
};

}  // namespace evenkeel
