// One HTTP request being answered, as handlers see it, whatever server carries it.
//
// Contract: HttpHandler::Handle() must lead to exactly one Respond(), at once or later, on any
//   thread. The call and everything it shows (fields, body) stay valid until Respond() is entered,
//   and are not touched by the handler afterwards.
// Thread-safety: Respond() and gone() from any thread; the rest on the thread that holds the call.
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

// {"error":"..."} with the status's own code, and Retry-After where a retry may help.
HttpResponse JsonError(int http_status, std::string_view message);

// What a handler keeps for one request. Owned by its call.
class HttpWork {
 public:
  virtual ~HttpWork() = default;
  // The client left before the answer. Respond() is still due (it is not sent). Runs on the
  // connection's loop, never after the call's response was taken; Respond() may be running on
  // another thread meanwhile.
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
};

}  // namespace evenkeel
