#include "frontends/http_request_checks.h"

#include <algorithm>
#include <charconv>

#include "core/format.h"

namespace evenkeel {
namespace {

constexpr uint64_t kLongestTimeoutMs = uint64_t{1000} * 3600 * 1000;

}  // namespace

Result<std::optional<uint64_t>> NumberHeader(const HttpExchange& exchange, std::string_view name) {
  const std::string_view text = exchange.Header(name);
  if (text.empty()) return std::optional<uint64_t>();
  uint64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size()) {
    return InvalidArgument("{}: expected a whole number, got '{}'", name, text);
  }
  return std::optional<uint64_t>(value);
}

Result<Time> DeadlineOf(const HttpExchange& exchange) {
  const Result<std::optional<uint64_t>> ms = NumberHeader(exchange, "X-Request-Timeout-Ms");
  if (!ms.ok()) return ms.status();
  if (ms->value_or(0) == 0) return kNever;
  return exchange.received() + std::chrono::milliseconds(std::min(**ms, kLongestTimeoutMs));
}

Status CheckContentType(const HttpExchange& exchange, std::string_view also) {
  const std::string_view full = exchange.Header("content-type");
  std::string_view type = full.substr(0, std::min(full.find(';'), full.size()));
  while (type.ends_with(' ')) type.remove_suffix(1);
  for (const std::string_view fine :
       {std::string_view(""), std::string_view("application/json"),
        std::string_view("application/vnd.api+json"),
        std::string_view("application/x-www-form-urlencoded"), std::string_view("text/json"),
        std::string_view("text/plain"), also}) {
    if (EqualsNoCase(type, fine)) return {};
  }
  return InvalidArgument("Content-Type: expected application/json{}{}, got '{}'",
                         also.empty() ? "" : " or ", also, type);
}

}  // namespace evenkeel
