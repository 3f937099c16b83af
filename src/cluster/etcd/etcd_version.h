// Which versions of etcd we speak to.
// Thread-safety: thread-safe.
#pragma once

#include <string_view>

#include "core/status.h"

namespace evenkeel {

// `version` as etcd says it: "3.4.23", "3.6.0-rc.1". Ok for 3.4 to 3.6. Errors: kUnsupported (another version), kInvalidArgument (none).
Status CheckEtcdVersion(std::string_view version);

}  // namespace evenkeel
