#include "access/api_key.h"

#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <sys/random.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "core/check.h"
#include "core/format.h"

namespace evenkeel {
namespace {

constexpr std::string_view kAlphabet = "abcdefghijklmnopqrstuvwxyz234567";
constexpr size_t kIdBytes = 5;

bool IsBase32(std::string_view text) {
  return std::ranges::all_of(
      text, [](char c) { return (c >= 'a' && c <= 'z') || (c >= '2' && c <= '7'); });
}

std::string Base32(std::span<const uint8_t> bytes) {
  std::string text;
  uint32_t bits = 0;
  int count = 0;
  for (const uint8_t byte : bytes) {
    bits = (bits << 8) | byte;
    for (count += 8; count >= 5; count -= 5) text += kAlphabet[(bits >> (count - 5)) & 31U];
  }
  if (count > 0) text += kAlphabet[(bits << (5 - count)) & 31U];
  return text;
}

// OpenSSL 3 looks the algorithm up and allocates for each one-shot call, which costs as much as the hashing: both are done once.
class Sha256 {
 public:
  Sha256() : context_(::EVP_MD_CTX_new()) {
    EK_CHECK(context_ != nullptr && Algorithm() != nullptr);
  }
  ~Sha256() { ::EVP_MD_CTX_free(context_); }
  Sha256(const Sha256&) = delete;
  Sha256& operator=(const Sha256&) = delete;

  KeyDigest Of(std::string_view text) {
    KeyDigest digest{};
    EK_CHECK(::EVP_DigestInit_ex(context_, Algorithm(), nullptr) == 1);
    EK_CHECK(::EVP_DigestUpdate(context_, text.data(), text.size()) == 1);
    EK_CHECK(::EVP_DigestFinal_ex(context_, digest.data(), nullptr) == 1);
    return digest;
  }

 private:
  static const EVP_MD* Algorithm() {
    static const EVP_MD* const algorithm = ::EVP_MD_fetch(nullptr, "SHA256", nullptr);
    return algorithm;
  }
  EVP_MD_CTX* const context_;
};

}  // namespace

Result<KeyEntropy> NewKeyEntropy() {
  KeyEntropy entropy{};
  ssize_t got = 0;
  do {
    got = ::getrandom(entropy.data(), entropy.size(), 0);
  } while (got < 0 && errno == EINTR);
  // Up to 256 bytes come whole or not at all.
  if (got != static_cast<ssize_t>(entropy.size()))
    return Internal("the kernel gives no random bytes: {}", std::strerror(errno));
  return entropy;
}

std::string KeyFrom(const KeyEntropy& entropy) {
  const std::span<const uint8_t> bytes(entropy);
  std::string key(kKeyPrefix);
  key += Base32(bytes.first(kIdBytes)) + "_" + Base32(bytes.subspan(kIdBytes));
  EK_CHECK(key.size() == kKeySize);
  return key;
}

std::string_view KeyIdOf(std::string_view key) {
  if (key.size() != kKeySize || !key.starts_with(kKeyPrefix)) return {};
  const std::string_view id = key.substr(kKeyPrefix.size(), kKeyIdSize);
  const std::string_view secret = key.substr(kKeySize - kKeySecretSize);
  const bool formed =
      key[kKeyPrefix.size() + kKeyIdSize] == '_' && IsBase32(id) && IsBase32(secret);
  return formed ? id : std::string_view();
}

bool IsKeyId(std::string_view text) { return text.size() == kKeyIdSize && IsBase32(text); }

KeyDigest DigestOf(std::string_view key) {
  static thread_local Sha256 sha256;
  return sha256.Of(key);
}

bool SameDigest(const KeyDigest& a, const KeyDigest& b) {
  return ::CRYPTO_memcmp(a.data(), b.data(), a.size()) == 0;
}

}  // namespace evenkeel
