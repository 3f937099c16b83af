#include "cluster/models/deploy_order.h"

#include "core/format.h"
#include "core/parse.h"

namespace evenkeel {

std::string_view NameOf(DeployState state) {
  switch (state) {
    case DeployState::kUnknown: break;
    case DeployState::kWaiting: return "waiting";
    case DeployState::kCopying: return "copying";
    case DeployState::kLoading: return "loading";
    case DeployState::kServing: return "serving";
    case DeployState::kFailed: return "failed";
  }
  return "unknown";
}

Status CheckReason(std::string_view why) {
  if (why.size() > kMostReasonBytes)
    return InvalidArgument("a reason: expected at most {} bytes, got {}", kMostReasonBytes,
                           why.size());
  if (!IsUtf8(why)) return InvalidArgument("a reason is not UTF-8: {}", Excerpt(why));
  for (const char c : why) {
    if (static_cast<unsigned char>(c) < 0x20 || c == 0x7f)
      return InvalidArgument("a reason has a control character: {}", Excerpt(why));
  }
  return Status::Ok();
}

}  // namespace evenkeel
