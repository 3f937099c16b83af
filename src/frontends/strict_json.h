// JSON of a request, read strictly.
//
// Contract: refused are trailing bytes, invalid UTF-8, half surrogate pairs, nesting beyond kMaxJsonDepth, numbers that no double holds,
//   and whatever else RFC 8259 does not allow; the root must be an object. Keys that are given twice are refused where CheckJsonKeys() is
//   called. Errors are kInvalidArgument. The elements live as long as the document, which reuses one parser a thread: one document at a time.
// Thread-safety: single-owner.
#pragma once

#include <simdjson.h>

#include <string_view>

#include "core/status.h"

namespace evenkeel {

inline constexpr int kMaxJsonDepth = 64;

class StrictJson {
 public:
  StrictJson() = default;
  ~StrictJson();
  StrictJson(const StrictJson&) = delete;
  StrictJson& operator=(const StrictJson&) = delete;

  Status Parse(std::string_view text);
  // REQUIRES: Parse() was ok.
  const simdjson::dom::object& root() const { return root_; }

 private:
  simdjson::dom::object root_;
};

// Error when a key is given twice: readers of the same text might disagree about which one counts.
Status CheckJsonKeys(const simdjson::dom::object& object);
// The same for every object below `element`.
Status CheckJsonKeysBelow(const simdjson::dom::element& element);

}  // namespace evenkeel
