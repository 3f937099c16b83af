// Whether callers need an API key (setting `auth`).
#pragma once

#include <cstdint>

namespace evenkeel {

enum class AuthMode : uint8_t {
  kAuto,      // as soon as a key was ever made
  kRequired,  // always: without keys nobody gets in
  kOff,       // never
};

}  // namespace evenkeel
