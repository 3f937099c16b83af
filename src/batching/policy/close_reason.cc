#include "batching/policy/close_reason.h"

#include <array>

namespace evenkeel {
namespace {

constexpr std::array<std::string_view, kCloseReasonCount> kNames = {"full", "worth", "deadline",
                                                                    "idle", "shape", "drain"};

}  // namespace

std::string_view NameOf(CloseReason reason) { return kNames.at(static_cast<size_t>(reason)); }

}  // namespace evenkeel
