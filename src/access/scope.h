// What an API key may do: "infer:MODEL", "manage", "metrics".
//
// Contract: a scope gives what it says and no more: "manage" is no right to infer. MODEL is a model's name, the beginning of names
//   with one "*" behind it ("infer:team-a.*"), or "*" alone. ToString() gives a text that ParseScope() turns back into an equal value.
// Errors: kInvalidArgument, with what was expected and what came.
// Thread-safety: values; pure.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "core/status.h"

namespace evenkeel {

enum class ScopeKind : uint8_t {
  kInfer,    // ask the models of a pattern, and read what they take and give
  kManage,   // load, unload, samples, log level; read the description of every model
  kMetrics,  // /metrics, and the reasons in /readyz?verbose
};

struct Scope {
  ScopeKind kind = ScopeKind::kMetrics;
  std::string models;  // kInfer: the pattern; else empty
  friend bool operator==(const Scope&, const Scope&) = default;
};

inline constexpr size_t kMostScopes = 64;  // of one key

Result<Scope> ParseScope(std::string_view text);
std::string ToString(const Scope& scope);

// Several, with one blank between two, as they are stored: 1 to kMostScopes of them.
Result<std::vector<Scope>> ParseScopes(std::string_view text);
std::string ToString(const std::vector<Scope>& scopes);

// Whether `scope` is infer with a pattern that `model` fits. False for "".
bool CoversModel(const Scope& scope, std::string_view model);

}  // namespace evenkeel
