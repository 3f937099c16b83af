#include "net/http_message.h"

#include <algorithm>

namespace evenkeel {
namespace {

char Lower(char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c + ('a' - 'A')) : c; }

int HexDigit(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  c = Lower(c);
  return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

std::string_view Trim(std::string_view s) {
  while (!s.empty() && (s.front() == ' ' || s.front() == '\t')) s.remove_prefix(1);
  while (!s.empty() && (s.back() == ' ' || s.back() == '\t')) s.remove_suffix(1);
  return s;
}

// "q=0", "q=0.000": the client refuses this coding.
bool WeightIsZero(std::string_view parameters) {
  const size_t q = parameters.find("q=");
  if (q == std::string_view::npos) return false;
  const std::string_view weight = Trim(parameters.substr(q + 2));
  return !weight.empty() && weight.find_first_not_of("0.") == std::string_view::npos;
}

// Bytes of the well-formed UTF-8 sequence at the start of `text`; 0 when there is none.
size_t Utf8Length(std::string_view text) {
  const auto at = [&](size_t i) {
    return i < text.size() ? static_cast<unsigned char>(text[i]) : 0U;
  };
  const unsigned lead = at(0);
  const size_t length = lead < 0x80                   ? 1
                        : lead >= 0xc2 && lead < 0xe0 ? 2
                        : (lead & 0xf0U) == 0xe0      ? 3
                        : (lead & 0xf8U) == 0xf0      ? 4
                                                      : 0;
  if (length == 0) return 0;
  for (size_t i = 1; i < length; ++i) {
    if ((at(i) & 0xc0U) != 0x80) return 0;
  }
  const unsigned second = at(1);
  const bool overlong = (lead == 0xe0 && second < 0xa0) || (lead == 0xf0 && second < 0x90);
  const bool surrogate = lead == 0xed && second >= 0xa0;
  const bool beyond = lead > 0xf4 || (lead == 0xf4 && second >= 0x90);
  return overlong || surrogate || beyond ? 0 : length;
}

}  // namespace

bool EqualsNoCase(std::string_view a, std::string_view b) {
  return a.size() == b.size() && std::equal(a.begin(), a.end(), b.begin(),
                                            [](char x, char y) { return Lower(x) == Lower(y); });
}

bool ListNames(std::string_view list, std::string_view token) {
  while (!list.empty()) {
    const size_t comma = std::min(list.find(','), list.size());
    const std::string_view item = list.substr(0, comma);
    const size_t semicolon = std::min(item.find(';'), item.size());
    if (EqualsNoCase(Trim(item.substr(0, semicolon)), token)) {
      return !WeightIsZero(item.substr(semicolon));
    }
    list.remove_prefix(std::min(comma + 1, list.size()));
  }
  return false;
}

bool PercentDecode(std::string_view text, std::string* out) {
  out->clear();
  for (size_t i = 0; i < text.size(); ++i) {
    if (text[i] != '%') {
      out->push_back(text[i]);
      continue;
    }
    if (i + 2 >= text.size()) return false;
    const int high = HexDigit(text[i + 1]);
    const int low = HexDigit(text[i + 2]);
    if (high < 0 || low < 0) return false;
    out->push_back(static_cast<char>(high * 16 + low));
    i += 2;
  }
  return true;
}

std::string_view HttpHead::Find(std::string_view name) const {
  for (const HttpField& field : fields) {
    if (EqualsNoCase(field.name, name)) return field.value;
  }
  return {};
}

void AppendJsonString(std::string_view text, std::string* out) {
  static constexpr char kHex[] = "0123456789abcdef";
  out->push_back('"');
  while (!text.empty()) {
    const auto u = static_cast<unsigned char>(text.front());
    size_t length = u < 0x80 ? 1 : Utf8Length(text);
    if (u < 0x20) {
      out->append("\\u00").append({kHex[u >> 4], kHex[u & 15]});
    } else if (length == 0) {
      out->push_back('?');
      length = 1;
    } else {
      if (u == '"' || u == '\\') out->push_back('\\');
      out->append(text.substr(0, length));
    }
    text.remove_prefix(length);
  }
  out->push_back('"');
}

HttpResponse JsonError(int http_status, std::string_view message) {
  HttpResponse response;
  response.status = http_status;
  response.body.reserve(message.size() + 16);
  response.body = "{\"error\":";
  AppendJsonString(message, &response.body);
  response.body += '}';
  if (http_status == 429 || http_status == 503) response.headers = "Retry-After: 1\r\n";
  if (http_status == 401) response.headers = kBearerChallenge;
  return response;
}

}  // namespace evenkeel
