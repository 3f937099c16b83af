// The join tokens that a cluster has given out and that nobody has used yet.
//
// Contract: a token is good once, until it expires: Redeem() removes it, on the disk, before it says yes, so that neither a second caller, nor another
//   process on the folder, nor a restart takes it again. Only a digest of the secret is kept. A token that looks made in the future by more than
//   kClockSkew is refused (a clock was set back). At most `most` are out at once; those that expired make room.
// Errors: kUnauthenticated (used, expired, not ours), kInvalidArgument (no token), kOverloaded (too many), kUnavailable (the disk).
// Units: `now` is wall-clock time. Thread-safety: thread-safe; blocks on the disk.
#pragma once

#include <chrono>
#include <string>
#include <string_view>

#include "cluster/pki/certificate_life.h"
#include "cluster/pki/join_token.h"
#include "core/status.h"

namespace evenkeel::pki {

inline constexpr size_t kMaxJoinTokens = 1000;
inline constexpr std::chrono::seconds kMaxTokenLife = std::chrono::days(7);

class JoinTokens {
 public:
  // `folder` is made when the first token is. `authority`: the digest that tokens carry.
  JoinTokens(std::string folder, const Sha256& authority, size_t most = kMaxJoinTokens)
      : folder_(std::move(folder)), authority_(authority), most_(most) {}

  // The token's text, to be shown once. Error kInvalidArgument: `life` is not 1 s to kMaxTokenLife.
  Result<std::string> Make(std::chrono::seconds life, WallTime now) const;
  Status Redeem(std::string_view text, WallTime now) const;

 private:
  std::string PathOf(const JoinToken& token) const;
  Result<size_t> Sweep(WallTime now) const;

  const std::string folder_;
  const Sha256 authority_;
  const size_t most_;
};

}  // namespace evenkeel::pki
