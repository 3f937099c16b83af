#include "access/scope.h"

#include <algorithm>

#include "core/format.h"
#include "core/parse.h"

namespace evenkeel {
namespace {

constexpr std::string_view kInferPrefix = "infer:";
constexpr size_t kLongestModel = 128;

bool IsAlphanumeric(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
}

// A model's name, or the beginning of one.
bool IsModelName(std::string_view text) {
  return !text.empty() && text.size() <= kLongestModel && IsAlphanumeric(text.front()) &&
         std::ranges::all_of(
             text, [](char c) { return IsAlphanumeric(c) || c == '.' || c == '_' || c == '-'; });
}

bool IsModelPattern(std::string_view text) {
  if (text == "*") return true;
  if (text.ends_with('*')) text.remove_suffix(1);
  return IsModelName(text);
}

}  // namespace

Result<Scope> ParseScope(std::string_view text) {
  if (text == "manage") return Scope{ScopeKind::kManage, ""};
  if (text == "metrics") return Scope{ScopeKind::kMetrics, ""};
  if (text.starts_with(kInferPrefix) && IsModelPattern(text.substr(kInferPrefix.size())))
    return Scope{ScopeKind::kInfer, std::string(text.substr(kInferPrefix.size()))};
  return InvalidArgument(
      "expected infer:MODEL, infer:BEGINNING*, infer:*, manage or metrics, got {}", Excerpt(text));
}

std::string ToString(const Scope& scope) {
  switch (scope.kind) {
    case ScopeKind::kInfer: return std::string(kInferPrefix) + scope.models;
    case ScopeKind::kManage: return "manage";
    case ScopeKind::kMetrics: break;
  }
  return "metrics";
}

Result<std::vector<Scope>> ParseScopes(std::string_view text) {
  std::vector<Scope> scopes;
  for (;;) {
    const size_t blank = std::min(text.find(' '), text.size());
    Result<Scope> scope = ParseScope(text.substr(0, blank));
    if (!scope.ok()) return scope.status();
    if (scopes.size() == kMostScopes)
      return InvalidArgument("expected at most {} scopes", kMostScopes);
    scopes.push_back(std::move(*scope));
    if (blank == text.size()) return scopes;
    text.remove_prefix(blank + 1);
  }
}

std::string ToString(const std::vector<Scope>& scopes) {
  std::string text;
  for (const Scope& scope : scopes) text += (text.empty() ? "" : " ") + ToString(scope);
  return text;
}

bool CoversModel(const Scope& scope, std::string_view model) {
  if (scope.kind != ScopeKind::kInfer || model.empty()) return false;
  const std::string_view pattern = scope.models;
  return pattern.ends_with('*') ? model.starts_with(pattern.substr(0, pattern.size() - 1))
                                : model == pattern;
}

}  // namespace evenkeel
