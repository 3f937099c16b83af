// A look at the XML half of an OpenVINO IR model: well-nested elements under <net>, and nothing that makes XML hostile.
//
// Refuses document types and entities of one's own, nesting over 256, NUL bytes, over 512 MiB, and what is cut off.
// Errors: kInvalidArgument, kTooLarge, kNotFound; they do not name the file.
// Thread-safety: thread-safe.
#pragma once

#include <string>
#include <string_view>

#include "core/status.h"

namespace evenkeel {

Status CheckIrFile(const std::string& path);

// The same for XML in memory. For tests.
Status CheckIrText(std::string_view xml);

}  // namespace evenkeel
