#include "net/http_head.h"

#include <boost/beast/http/basic_parser.hpp>
#include <functional>

#include "core/format.h"

namespace evenkeel {
namespace {

namespace http = boost::beast::http;
using boost::beast::error_code;
using boost::beast::string_view;

HttpMethod MethodOf(http::verb verb) {
  switch (verb) {
    case http::verb::get: return HttpMethod::kGet;
    case http::verb::head: return HttpMethod::kHead;
    case http::verb::post: return HttpMethod::kPost;
    case http::verb::put: return HttpMethod::kPut;
    case http::verb::delete_: return HttpMethod::kDelete;
    case http::verb::options: return HttpMethod::kOptions;
    case http::verb::patch: return HttpMethod::kPatch;
    default: return HttpMethod::kOther;
  }
}

// Beast's grammar, storing views instead of copies.
class Parser final : public http::basic_parser<true> {
 public:
  Parser(std::string_view head, size_t max_fields, HttpHead* out)
      : head_(head), max_fields_(max_fields), out_(out) {
    body_limit(boost::none);
    header_limit(static_cast<uint32_t>(head.size() + 1));
  }

  bool too_many_fields() const { return too_many_fields_; }
  bool folded() const { return folded_; }
  // Exactly one Transfer-Encoding, and nothing in it but "chunked": with other codings before it the
  // body would have to be unfolded.
  bool only_chunked() const { return transfer_encodings_ == 1 && chunked_alone_; }
  bool transfer_encoding() const { return transfer_encodings_ > 0; }
  bool lengths_listed() const { return lengths_ > 1 || length_list_; }
  bool unknown_expectation() const { return unknown_expectation_; }
  int hosts() const { return hosts_; }

 private:
  void on_request_impl(http::verb verb, string_view method, string_view target_text, int version,
                       error_code& ec) override {
    ec = {};
    out_->method = MethodOf(verb);
    const std::string_view target = View(target_text);
    out_->method_name = View(method);
    out_->target = target;
    const size_t mark = std::min(target.find('?'), target.size());
    out_->path = target.substr(0, mark);
    out_->query = target.substr(std::min(mark + 1, target.size()));
    out_->http11 = version >= 11;
  }

  void on_field_impl(http::field field, string_view name, string_view text,
                     error_code& ec) override {
    ec = {};
    const std::string_view value = View(text);
    too_many_fields_ = out_->fields.size() >= max_fields_;
    // A folded value was joined in a buffer of the parser's that is about to go, or begins on a
    // later line.
    folded_ = Inside(value)
                  ? std::string_view(name.data(), value.data() - name.data()).find('\n') !=
                        std::string_view::npos
                  : !value.empty();
    if (too_many_fields_ || folded_) {
      ec = http::error::bad_field;
      return;
    }
    if (field == http::field::host) ++hosts_;
    if (field == http::field::transfer_encoding) {
      ++transfer_encodings_;
      chunked_alone_ = EqualsNoCase(value, "chunked");
    }
    if (field == http::field::content_length) {
      ++lengths_;
      length_list_ = length_list_ || value.find(',') != std::string_view::npos;
    }
    if (field == http::field::expect) {
      out_->expect_continue = EqualsNoCase(value, "100-continue");
      unknown_expectation_ = unknown_expectation_ || !out_->expect_continue;
    }
    out_->fields.push_back({View(name), value});
  }

  static std::string_view View(string_view s) { return {s.data(), s.size()}; }

  bool Inside(std::string_view s) const {
    const std::less_equal<const char*> le;
    return le(head_.data(), s.data()) && le(s.data() + s.size(), head_.data() + head_.size());
  }

  void on_header_impl(error_code& ec) override { ec = {}; }
  void on_response_impl(int, string_view, int, error_code& ec) override { ec = {}; }
  void on_body_init_impl(const boost::optional<uint64_t>&, error_code& ec) override { ec = {}; }
  size_t on_body_impl(string_view, error_code& ec) override {
    ec = {};
    return 0;
  }
  void on_chunk_header_impl(uint64_t, string_view, error_code& ec) override { ec = {}; }
  size_t on_chunk_body_impl(uint64_t, string_view, error_code& ec) override {
    ec = {};
    return 0;
  }
  void on_finish_impl(error_code& ec) override { ec = {}; }

  const std::string_view head_;
  const size_t max_fields_;
  HttpHead* const out_;
  bool too_many_fields_ = false;
  bool folded_ = false;
  bool chunked_alone_ = false;
  bool length_list_ = false;
  int transfer_encodings_ = 0;
  int lengths_ = 0;
  bool unknown_expectation_ = false;
  int hosts_ = 0;
};

HttpError Explain(const Parser& parser, error_code ec, size_t max_fields) {
  if (parser.too_many_fields())
    return {431, fmt::format("the request has more than {} header fields", max_fields)};
  if (parser.folded())
    return {400, "malformed request: a header field is folded over several lines"};
  if (ec == http::error::bad_version) return {505, "expected HTTP/1.0 or HTTP/1.1"};
  if (ec == http::error::bad_transfer_encoding) {
    return {400, "malformed request: Transfer-Encoding twice, or beside Content-Length"};
  }
  if (ec == http::error::bad_content_length || ec == http::error::multiple_content_length) {
    return {400,
            "malformed request: Content-Length is not one decimal number, or stands beside "
            "Transfer-Encoding"};
  }
  return {400, "malformed request: " + ec.message()};
}

}  // namespace

bool HasBareLineFeed(std::string_view text) {
  for (size_t at = text.find('\n'); at != std::string_view::npos; at = text.find('\n', at + 1)) {
    if (at == 0 || text[at - 1] != '\r') return true;
  }
  return false;
}

size_t FindHeadEnd(std::string_view text, size_t* scanned) {
  const size_t from = *scanned < 3 ? 0 : *scanned - 3;
  const size_t at = text.find("\r\n\r\n", from);
  *scanned = text.size();
  return at == std::string_view::npos ? 0 : at + 4;
}

HttpError ParseHttpHead(std::string_view head, size_t max_fields, HttpHead* out) {
  out->fields.clear();
  out->expect_continue = false;
  Parser parser(head, max_fields, out);
  error_code ec;
  const size_t used = parser.put({head.data(), head.size()}, ec);
  if (ec && HasBareLineFeed(head)) return {400, kBareLineFeed};
  if (ec) return Explain(parser, ec, max_fields);
  if (!parser.is_header_done() || used != head.size()) return {400, "malformed request"};
  // Beast takes "5, 5" and the same length twice; whoever read the request before may not have.
  if (parser.lengths_listed())
    return {400, "malformed request: Content-Length is not one decimal number"};
  if (parser.transfer_encoding() && !parser.only_chunked())
    return {501, "the only transfer coding supported is chunked"};
  if (parser.chunked() && !out->http11) return {400, "malformed request: chunks in HTTP/1.0"};
  if (parser.unknown_expectation()) return {417, "the only expectation supported is 100-continue"};
  if (parser.hosts() > 1 || (out->http11 && parser.hosts() == 0)) {
    return {400, fmt::format("malformed request: expected one Host field, got {}", parser.hosts())};
  }
  out->expect_continue = out->expect_continue && out->http11;
  out->keep_alive = parser.keep_alive();
  out->chunked = parser.chunked();
  const auto length = parser.content_length();
  out->has_length = length.has_value();
  out->length = length.value_or(0);
  return {};
}

}  // namespace evenkeel
