// JSON documents from outside, read into a DOM without surprises.
//
// Use for: small documents (control requests, headers of files). Not for: tensors (frontends/kserve_json.h).
// Contract: one object and nothing behind it; nothing nested deeper than `deepest` is ever built (a DOM's copy recurses once a level, so that
//   a deep one would overflow the stack of whoever copies it); a key that stands twice in one object is refused, which the DOM would merge in
//   silence. Errors: kInvalidArgument. REQUIRES: text.size() is bounded by the caller; a DOM takes some thirty times as much.
// Thread-safety: thread-safe.
#pragma once

#include <nlohmann/json.hpp>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "core/format.h"
#include "core/status.h"

namespace evenkeel {

// The object that `text` is; the object itself is level 1. Messages begin with `what`: "the header".
template <typename Json = nlohmann::json>
Result<Json> ParseStrictObject(std::string_view text, int deepest, std::string_view what) {
  std::vector<std::set<std::string>> keys(static_cast<size_t>(deepest) + 2);  // by level
  bool repeated = false, too_deep = false;
  const auto watch = [&](int depth, typename Json::parse_event_t event, Json& value) {
    using Event = typename Json::parse_event_t;
    const bool begins = event == Event::object_start || event == Event::array_start;
    if (depth > deepest || (begins && depth == deepest)) {
      too_deep = true;
      return false;
    }
    const auto level = static_cast<size_t>(depth);
    if (event == Event::object_start) keys[level + 1].clear();
    if (event == Event::key && !keys[level].insert(value.template get<std::string>()).second)
      repeated = true;
    return true;
  };
  Json document = Json::parse(text, watch, /*allow_exceptions=*/false);
  if (too_deep) return InvalidArgument("{}: nested deeper than {} levels", what, deepest);
  if (document.is_discarded()) return InvalidArgument("{}: malformed JSON", what);
  if (!document.is_object()) return InvalidArgument("{}: expected a JSON object", what);
  if (repeated) return InvalidArgument("{}: a key stands twice in one object", what);
  return document;
}

}  // namespace evenkeel
