#include "cluster/pki/join_token.h"

#include <algorithm>
#include <vector>

#include "cluster/pki/base32.h"
#include "core/check.h"
#include "core/format.h"
#include "core/parse.h"
#include "net/tls_files.h"

namespace evenkeel::pki {
namespace {

constexpr std::string_view kPrefix = "ekj_";
constexpr uint8_t kVersion = 1;
// Version, authority, secret, and two bytes of a digest over these, which tell a mistyped token from another.
constexpr size_t kBody = 1 + 32 + 20;
constexpr size_t kBytes = kBody + 2;
constexpr size_t kLetters = kBytes * 8 / 5;
static_assert(kBytes * 8 % 5 == 0);

std::array<uint8_t, 2> CheckBytes(const uint8_t* body) {
  std::array<uint8_t, 32> digest{};
  EK_CHECK(EVP_Digest(body, kBody, digest.data(), nullptr, EVP_sha256(), nullptr) == 1);
  return {digest[0], digest[1]};
}

std::string_view Trim(std::string_view text) {
  constexpr std::string_view kBlanks = " \t\r\n";
  const size_t first = text.find_first_not_of(kBlanks);
  if (first == std::string_view::npos) return {};
  return text.substr(first, text.find_last_not_of(kBlanks) + 1 - first);
}

}  // namespace

std::string FormatJoinToken(const JoinToken& token) {
  std::array<uint8_t, kBytes> bytes{};
  bytes[0] = kVersion;
  std::ranges::copy(token.authority, bytes.begin() + 1);
  std::ranges::copy(token.secret, bytes.begin() + 33);
  std::ranges::copy(CheckBytes(bytes.data()), bytes.begin() + kBody);
  return std::string(kPrefix) + EncodeBase32(bytes);
}

Result<JoinToken> ParseJoinToken(std::string_view text) {
  text = Trim(text);
  if (!text.starts_with(kPrefix))
    return InvalidArgument("join token: expected one that begins with {}", kPrefix);
  const std::string_view letters = text.substr(kPrefix.size());
  size_t bad = 0;
  const std::optional<std::vector<uint8_t>> bytes = DecodeBase32(letters, &bad);
  if (!bytes && bad < letters.size())
    return InvalidArgument("join token: expected letters and digits 2 to 7, got {} at position {}",
                           Excerpt(letters.substr(bad, 1)), kPrefix.size() + bad + 1);
  if (letters.size() != kLetters)
    return InvalidArgument("join token: expected {} characters, got {}: is it whole?",
                           kPrefix.size() + kLetters, text.size());
  if (!bytes || !std::ranges::equal(CheckBytes(bytes->data()), std::span(*bytes).subspan(kBody)))
    return InvalidArgument("join token: a character is wrong");
  if (bytes->front() != kVersion)
    return InvalidArgument("join token: version {} is not known here, expected {}", bytes->front(),
                           kVersion);
  JoinToken token;
  std::ranges::copy(std::span(*bytes).subspan(1, 32), token.authority.begin());
  std::ranges::copy(std::span(*bytes).subspan(33, 20), token.secret.begin());
  return token;
}

Status CheckAuthority(const JoinToken& token, std::string_view authority_pem) {
  const Result<std::vector<openssl::Certificate>> authority =
      ParseCertificates(authority_pem, "the authority's certificate", 1);
  if (!authority.ok()) return {Code::kUnauthenticated, authority.status().message()};
  if (DigestOf(authority->front().get()) == token.authority) return Status::Ok();
  return {Code::kUnauthenticated,
          "the server that was asked is not of the cluster that made the token"};
}

}  // namespace evenkeel::pki
