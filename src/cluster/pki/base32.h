// Bytes as letters that survive being read out, typed and pasted: RFC 4648 base32, lower case, without padding.
//
// Thread-safety: thread-safe.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace evenkeel::pki {

std::string EncodeBase32(std::span<const uint8_t> bytes);

// Upper and lower case. Empty when `text` has another character (its index goes to `bad`, if that is not null), a length that
// no number of bytes has, or bits beyond the last byte that are not zero (`bad` is the text's size then): one text for each value.
std::optional<std::vector<uint8_t>> DecodeBase32(std::string_view text, size_t* bad);

}  // namespace evenkeel::pki
