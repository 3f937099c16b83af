// The text of an API key, and what is kept of it.
//
// A key is "ek_", its id (8 letters), "_", and a secret (52 letters for 256 bits of the kernel's random source), in the base32
// alphabet a-z2-7. The prefix tells people and scanners of source code what they have found; the id is no secret, names the key in
// listings and logs, and finds it.
// Contract: only DigestOf() the whole text is kept, a plain SHA-256. A slow hash (Argon2, bcrypt) makes guessing dear where people
//   choose short secrets; 256 random bits are not guessed, and the check is on the path of every request.
// Thread-safety: thread-safe.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>

#include "core/status.h"

namespace evenkeel {

inline constexpr std::string_view kKeyPrefix = "ek_";
inline constexpr size_t kKeyIdSize = 8;
inline constexpr size_t kKeySecretSize = 52;
inline constexpr size_t kKeySize = kKeyPrefix.size() + kKeyIdSize + 1 + kKeySecretSize;

// What a key is made of: 5 bytes for the id, 32 for the secret.
using KeyEntropy = std::array<uint8_t, 37>;
using KeyDigest = std::array<uint8_t, 32>;

// From getrandom(2). Error kInternal: the kernel gives none.
Result<KeyEntropy> NewKeyEntropy();
std::string KeyFrom(const KeyEntropy& entropy);

// The id inside a text that has the form of a key, else "". Says nothing about whether there is such a key.
std::string_view KeyIdOf(std::string_view key);
// Whether `text` could be an id: 8 letters of the alphabet.
bool IsKeyId(std::string_view text);

KeyDigest DigestOf(std::string_view key);
// Takes the same time wherever the two differ.
bool SameDigest(const KeyDigest& a, const KeyDigest& b);

}  // namespace evenkeel
