// Statuses with formatted messages: `return InvalidArgument("input '{}': got {}", name, text);`
// Thread-safety: thread-safe.
#pragma once

#include <fmt/format.h>

#include <utility>

#include "core/status.h"

namespace evenkeel {

#define EK_DEFINE_STATUS_MAKER(Name)                                          \
  template <typename... Args>                                                 \
  Status Name(fmt::format_string<Args...> format, Args&&... args) {           \
    return {Code::k##Name, fmt::format(format, std::forward<Args>(args)...)}; \
  }

EK_DEFINE_STATUS_MAKER(InvalidArgument)
EK_DEFINE_STATUS_MAKER(TooLarge)
EK_DEFINE_STATUS_MAKER(Unauthenticated)
EK_DEFINE_STATUS_MAKER(PermissionDenied)
EK_DEFINE_STATUS_MAKER(NotFound)
EK_DEFINE_STATUS_MAKER(Conflict)
EK_DEFINE_STATUS_MAKER(Overloaded)
EK_DEFINE_STATUS_MAKER(Cancelled)
EK_DEFINE_STATUS_MAKER(Internal)
EK_DEFINE_STATUS_MAKER(Unsupported)
EK_DEFINE_STATUS_MAKER(Unavailable)
EK_DEFINE_STATUS_MAKER(DeadlineExceeded)
#undef EK_DEFINE_STATUS_MAKER

}  // namespace evenkeel
