#include "llm/text/utf8_tail.h"

#include <algorithm>

namespace evenkeel {
namespace {

constexpr std::string_view kReplacement = "\xef\xbf\xbd";

struct Lead {
  int length = 0;                         // of the character; 0: no lead byte
  unsigned char low = 0x80, high = 0xbf;  // of the second byte
};

// The well-formed byte sequences of Unicode's table 3-7.
Lead LeadOf(unsigned char c) {
  if (c < 0x80) return {1};
  if (c >= 0xc2 && c <= 0xdf) return {2};
  if (c == 0xe0) return {3, 0xa0, 0xbf};
  if (c == 0xed) return {3, 0x80, 0x9f};
  if (c >= 0xe1 && c <= 0xef) return {3};
  if (c == 0xf0) return {4, 0x90, 0xbf};
  if (c == 0xf4) return {4, 0x80, 0x8f};
  if (c >= 0xf1 && c <= 0xf3) return {4};
  return {};
}

}  // namespace

std::string Utf8Tail::Feed(std::string_view bytes) {
  held_ += bytes;
  std::string text;
  size_t at = 0;
  while (at < held_.size()) {
    const Lead lead = LeadOf(static_cast<unsigned char>(held_[at]));
    size_t good = lead.length == 0 ? 0 : 1;
    while (good > 0 && good < static_cast<size_t>(lead.length) && at + good < held_.size()) {
      const auto c = static_cast<unsigned char>(held_[at + good]);
      const unsigned char low = good == 1 ? lead.low : 0x80;
      const unsigned char high = good == 1 ? lead.high : 0xbf;
      if (c < low || c > high) break;
      ++good;
    }
    if (good == static_cast<size_t>(lead.length) && good > 0) {
      text.append(held_, at, good);
      at += good;
    } else if (good > 0 && at + good == held_.size()) {
      break;  // the rest may come
    } else {
      text += kReplacement;
      at += std::max<size_t>(good, 1);
    }
  }
  held_.erase(0, at);
  return text;
}

std::string Utf8Tail::End() {
  if (held_.empty()) return {};
  held_.clear();
  return std::string(kReplacement);
}

}  // namespace evenkeel
