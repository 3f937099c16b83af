#include "frontends/http_path.h"

#include "core/format.h"
#include "net/http_message.h"

namespace evenkeel {

Status HttpPath::Parse(std::string_view path) {
  size_ = 0;
  decoded_.clear();
  const bool escaped = path.find('%') != std::string_view::npos;
  if (escaped) decoded_.reserve(path.size());  // decoding only shrinks: the views into it stay
  while (!path.empty()) {
    if (path.front() == '/') {
      path.remove_prefix(1);
      continue;
    }
    std::string_view part = path.substr(0, std::min(path.find('/'), path.size()));
    path.remove_prefix(part.size());
    if (size_ == kMaxParts) return NotFound("no such path");
    if (escaped) {
      std::string plain;
      if (!PercentDecode(part, &plain))
        return InvalidArgument("the path has a broken percent escape");
      const size_t at = decoded_.size();
      decoded_ += plain;
      part = std::string_view(decoded_).substr(at);
    }
    parts_[size_++] = part;
  }
  return {};
}

}  // namespace evenkeel
