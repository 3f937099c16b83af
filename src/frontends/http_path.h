// A request's path, taken apart at its slashes and percent-decoded.
//
// Thread-safety: values. The parts live as long as the HttpPath and the text it was made from.
#pragma once

#include <array>
#include <string>
#include <string_view>

#include "core/status.h"

namespace evenkeel {

class HttpPath {
 public:
  static constexpr size_t kMaxParts = 8;

  // "/v2/models/a%2Fb/" has the parts v2, models, a/b. Errors: kInvalidArgument for broken escapes,
  // kNotFound for more parts.
  Status Parse(std::string_view path);

  size_t size() const { return size_; }
  // "" past the end.
  std::string_view operator[](size_t i) const { return i < size_ ? parts_[i] : std::string_view(); }

 private:
  std::array<std::string_view, kMaxParts> parts_{};
  size_t size_ = 0;
  std::string decoded_;  // backs the parts when there was something to decode
};

}  // namespace evenkeel
