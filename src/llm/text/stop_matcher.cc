#include "llm/text/stop_matcher.h"

#include <algorithm>
#include <utility>

namespace evenkeel {

StopMatcher::StopMatcher(std::vector<std::string> words) : words_(std::move(words)) {
  std::erase_if(words_, [](const std::string& word) { return word.empty(); });
  for (const std::string& word : words_) longest_ = std::max(longest_, word.size());
}

std::string StopMatcher::Feed(std::string_view text) {
  if (stopped_) return {};
  if (words_.empty()) return std::string(text);
  held_ += text;
  size_t begin = std::string::npos;
  size_t end = std::string::npos;
  for (const std::string& word : words_) {
    const size_t at = held_.find(word);
    if (at == std::string::npos) continue;
    const size_t word_end = at + word.size();
    if (word_end > end || (word_end == end && at >= begin)) continue;
    begin = at;
    end = word_end;
  }
  if (begin != std::string::npos) {
    stopped_ = true;
    held_.resize(begin);
    return std::exchange(held_, {});
  }
  // The earliest place from which all that is there is the beginning of a word.
  size_t safe = held_.size() - std::min(held_.size(), longest_ - 1);
  const auto may_begin = [&](size_t at) {
    const std::string_view rest = std::string_view(held_).substr(at);
    return std::ranges::any_of(words_, [&](const auto& word) { return word.starts_with(rest); });
  };
  while (safe < held_.size() && !may_begin(safe)) ++safe;
  std::string told = held_.substr(0, safe);
  held_.erase(0, safe);
  return told;
}

std::string StopMatcher::End() { return std::exchange(held_, {}); }

}  // namespace evenkeel
