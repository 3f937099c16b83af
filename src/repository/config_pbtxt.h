// config.pbtxt, Triton's settings file: protobuf text of its ModelConfig message.
//
// Contract: errors are "SOURCE:LINE:COLUMN: field: ..."; kInvalidArgument for what is malformed or
// out of range, kUnsupported for what would need another server, kTooLarge over 1 MiB.
// Thread-safety: thread-safe.
#pragma once

#include <string>
#include <string_view>

#include "core/model_config.h"
#include "core/status.h"
#include "repository/triton_message.h"

namespace evenkeel {

inline constexpr size_t kMaxPbtxtBytes = size_t{1} << 20;

// `base` has the model's name (the folder's) and the folder that label files are read from.
Result<TritonConfig> ParseConfigPbtxt(std::string_view text, const std::string& source,
                                      const ModelConfig& base);

}  // namespace evenkeel
