// How long certificates live, and when they are renewed. Pure.
//
// Units: wall-clock seconds. Thread-safety: thread-safe.
#pragma once

#include <chrono>

namespace evenkeel::pki {

using WallTime = std::chrono::sys_seconds;

inline constexpr std::chrono::seconds kNodeLife = std::chrono::days(365);
inline constexpr std::chrono::seconds kAuthorityLife = std::chrono::days(3650);
// By how much clocks of one cluster may differ: what is made now is valid from a little before.
inline constexpr std::chrono::seconds kClockSkew = std::chrono::minutes(10);

// Two thirds of the life are over: there is time to try more than once.
constexpr WallTime RenewalTime(WallTime not_before, WallTime not_after) {
  return not_before + (not_after - not_before) * 2 / 3;
}
constexpr bool RenewalDue(WallTime not_before, WallTime not_after, WallTime now) {
  return now >= RenewalTime(not_before, not_after);
}

}  // namespace evenkeel::pki
