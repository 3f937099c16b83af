#include "net/sse_reader.h"

#include "core/format.h"

namespace evenkeel {

Status SseReader::Feed(std::string_view bytes,
                       const std::function<void(std::string_view)>& on_data) {
  for (const char c : bytes) {
    const bool second_half = std::exchange(after_return_, c == '\r') && c == '\n';
    if (second_half || failed_) continue;
    if (c == '\r' || c == '\n') {
      EndLine(on_data);
    } else {
      line_.push_back(c);
    }
    if (line_.size() + data_.size() > limit_) failed_ = true;
  }
  if (failed_) return TooLarge("an event of the stream is larger than {} bytes", limit_);
  return {};
}

void SseReader::EndLine(const std::function<void(std::string_view)>& on_data) {
  const std::string line = std::exchange(line_, {});
  if (line.empty()) {
    const std::string data = std::exchange(data_, {});
    if (std::exchange(has_data_, false)) on_data(data);
    return;
  }
  std::string_view rest = line;
  constexpr std::string_view kField = "data";
  if (!rest.starts_with(kField)) return;
  rest.remove_prefix(kField.size());
  if (!rest.empty() && rest.front() != ':') return;
  if (!rest.empty()) rest.remove_prefix(1);
  if (rest.starts_with(' ')) rest.remove_prefix(1);
  if (has_data_) data_.push_back('\n');
  has_data_ = true;
  data_.append(rest);
}

}  // namespace evenkeel
