#include "cluster/pki/join_tokens.h"

#include <openssl/rand.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <filesystem>

#include "cluster/pki/secret_file.h"
#include "core/check.h"
#include "core/format.h"
#include "core/parse.h"

// A token is a file whose name is the digest of its secret and whose content says from when to when it is good. Removing a file is the one step that
// only one of several can do.
namespace evenkeel::pki {
namespace {

namespace fs = std::filesystem;
constexpr std::string_view kSuffix = ".token";
constexpr size_t kMaxFileBytes = 64;

struct Validity {
  int64_t made = 0, expires = 0;  // seconds since the epoch
};

Result<Validity> ReadValidity(const std::string& path) {
  const Result<std::string> text = ReadSecretFile(path, kMaxFileBytes);
  if (!text.ok()) return text.status();
  const size_t blank = text->find(' ');
  const size_t end = text->find('\n');
  if (blank == std::string::npos || end == std::string::npos || blank > end)
    return Internal("'{}' is broken", path);
  constexpr int64_t kMost = int64_t{1} << 40;
  const Result<int64_t> made = ParseInt(std::string_view(*text).substr(0, blank), 0, kMost);
  const Result<int64_t> expires =
      ParseInt(std::string_view(*text).substr(blank + 1, end - blank - 1), 0, kMost);
  if (!made.ok() || !expires.ok()) return Internal("'{}' is broken", path);
  return Validity{*made, *expires};
}

Status Refused(const char* why) { return {Code::kUnauthenticated, why}; }

constexpr const char* kGone = "the join token was used already, or was never given out here";

}  // namespace

std::string JoinTokens::PathOf(const JoinToken& token) const {
  std::array<uint8_t, 32> digest{};
  EK_CHECK(EVP_Digest(token.secret.data(), token.secret.size(), digest.data(), nullptr,
                      EVP_sha256(), nullptr) == 1);
  return fmt::format("{}/{:02x}{}", folder_, fmt::join(digest, ""), kSuffix);
}

// Removes what has expired; how many are left.
Result<size_t> JoinTokens::Sweep(WallTime now) const {
  size_t left = 0;
  std::error_code error;
  for (auto at = fs::directory_iterator(folder_, error); !error && at != fs::directory_iterator();
       at.increment(error)) {
    const std::string path = at->path().string();
    if (!path.ends_with(kSuffix)) continue;
    const Result<Validity> validity = ReadValidity(path);
    const bool over = validity.ok() && validity->expires <= now.time_since_epoch().count();
    if (!over || ::unlink(path.c_str()) != 0) ++left;
  }
  if (error) return Unavailable("'{}': {}", folder_, error.message());
  return left;
}

Result<std::string> JoinTokens::Make(std::chrono::seconds life, WallTime now) const {
  if (life <= std::chrono::seconds::zero() || life > kMaxTokenLife)
    return InvalidArgument("a join token lives 1 s to {} s, not {} s", kMaxTokenLife.count(),
                           life.count());
  EK_RETURN_IF_ERROR(MakeSecretFolder(folder_));
  const Result<size_t> left = Sweep(now);
  if (!left.ok()) return left.status();
  if (*left >= most_)
    return Overloaded("{} join tokens are out already: wait until some expire", *left);
  JoinToken token;
  token.authority = authority_;
  EK_CHECK(RAND_bytes(token.secret.data(), static_cast<int>(token.secret.size())) == 1);
  const int64_t made = now.time_since_epoch().count();
  EK_RETURN_IF_ERROR(
      WriteSecretFile(PathOf(token), fmt::format("{} {}\n", made, made + life.count())));
  return FormatJoinToken(token);
}

Status JoinTokens::Redeem(std::string_view text, WallTime now) const {
  const Result<JoinToken> token = ParseJoinToken(text);
  if (!token.ok()) return token.status();
  if (token->authority != authority_) return Refused("the join token is another cluster's");
  const std::string path = PathOf(*token);
  const Result<Validity> validity = ReadValidity(path);
  if (!validity.ok() && validity.status().code() == Code::kNotFound) return Refused(kGone);
  if (!validity.ok()) return validity.status();
  const int64_t seconds = now.time_since_epoch().count();
  if (seconds + kClockSkew.count() < validity->made)
    return Refused("the join token was made in the future: is this machine's clock right?");
  const bool expired = seconds >= validity->expires;
  if (::unlink(path.c_str()) != 0) {
    if (errno == ENOENT) return Refused(kGone);
    return Unavailable("'{}': {}", path, std::strerror(errno));
  }
  EK_RETURN_IF_ERROR(SyncFolder(folder_));
  return expired ? Refused("the join token has expired") : Status::Ok();
}

}  // namespace evenkeel::pki
