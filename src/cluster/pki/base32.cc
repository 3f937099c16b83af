#include "cluster/pki/base32.h"

namespace evenkeel::pki {
namespace {

constexpr std::string_view kLetters = "abcdefghijklmnopqrstuvwxyz234567";

int ValueOf(char c) {
  if (c >= 'a' && c <= 'z') return c - 'a';
  if (c >= 'A' && c <= 'Z') return c - 'A';
  if (c >= '2' && c <= '7') return c - '2' + 26;
  return -1;
}

}  // namespace

std::string EncodeBase32(std::span<const uint8_t> bytes) {
  std::string text;
  text.reserve((bytes.size() * 8 + 4) / 5);
  uint32_t bits = 0;
  int have = 0;
  for (const uint8_t byte : bytes) {
    bits = bits << 8 | byte;
    for (have += 8; have >= 5; have -= 5) text += kLetters[bits >> (have - 5) & 31];
  }
  if (have > 0) text += kLetters[bits << (5 - have) & 31];
  return text;
}

std::optional<std::vector<uint8_t>> DecodeBase32(std::string_view text, size_t* bad) {
  std::vector<uint8_t> bytes;
  uint32_t bits = 0;
  int have = 0;
  for (size_t i = 0; i < text.size(); ++i) {
    const int value = ValueOf(text[i]);
    if (value < 0) {
      if (bad != nullptr) *bad = i;
      return std::nullopt;
    }
    bits = bits << 5 | static_cast<uint32_t>(value);
    have += 5;
    if (have < 8) continue;
    have -= 8;
    bytes.push_back(static_cast<uint8_t>(bits >> have));
    bits &= (1U << have) - 1;
  }
  if (have >= 5 || bits != 0) {
    if (bad != nullptr) *bad = text.size();
    return std::nullopt;
  }
  return bytes;
}

}  // namespace evenkeel::pki
