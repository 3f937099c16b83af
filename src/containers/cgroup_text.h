// Reading of the kernel's small texts about control groups. For this room's own sources.
//
// Thread-safety: thread-safe.
#pragma once

#include <array>
#include <charconv>
#include <cstdint>
#include <optional>
#include <string_view>
#include <vector>

namespace evenkeel {

// Those that limits or accounting need, in the order in which they are looked at.
inline constexpr std::array kV1Controllers = {"cpuset", "cpu", "cpuacct", "memory", "pids"};

// Without empty parts.
inline std::vector<std::string_view> Split(std::string_view text, char separator) {
  std::vector<std::string_view> parts;
  while (!text.empty()) {
    const size_t end = text.find(separator);
    if (end != 0) parts.push_back(text.substr(0, end));
    if (end == std::string_view::npos) break;
    text.remove_prefix(end + 1);
  }
  return parts;
}

inline std::optional<uint64_t> Number(std::string_view text) {
  uint64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size()) return std::nullopt;
  return value;
}

// The number behind `key` in lines of "key number".
inline std::optional<uint64_t> CountIn(std::string_view text, std::string_view key) {
  for (const std::string_view line : Split(text, '\n')) {
    if (line.starts_with(key) && line.size() > key.size() && line[key.size()] == ' ') {
      return Number(line.substr(key.size() + 1));
    }
  }
  return std::nullopt;
}

}  // namespace evenkeel
