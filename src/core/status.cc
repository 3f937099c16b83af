#include "core/status.h"

#include <array>

namespace evenkeel {
namespace {

// gRPC numbers are those of the published protocol (grpc/status.h).
constexpr std::array<CodeInfo, kCodeCount> kTable = {{
    {"ok", 200, 0, false},
    {"invalid_argument", 400, 3, false},
    {"too_large", 413, 8, false},
    {"unauthenticated", 401, 16, false},
    {"permission_denied", 403, 7, false},
    {"not_found", 404, 5, false},
    {"conflict", 409, 9, false},
    {"overloaded", 429, 8, true},
    {"cancelled", 499, 1, false},
    {"internal", 500, 13, false},
    {"unsupported", 501, 12, false},
    {"unavailable", 503, 14, true},
    {"deadline_exceeded", 504, 4, false},
}};

}  // namespace

const CodeInfo& InfoOf(Code code) { return kTable.at(static_cast<size_t>(code)); }

std::string Status::ToString() const {
  std::string text(InfoOf(code_).name);
  if (!message_.empty()) text.append(": ").append(message_);
  return text;
}

Status Status::Annotate(std::string_view context) const {
  if (ok()) return *this;
  std::string text(context);
  text.append(": ").append(message_);
  return {code_, std::move(text)};
}

}  // namespace evenkeel
