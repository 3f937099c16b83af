// Settings out of Triton's ModelConfig, wherever the message came from (config.pbtxt, a load
// request's JSON).
//
// What we cannot honour and what would change answers is refused (kUnsupported); what only tunes
// another server is noted in the log at debug level and passed over. Thread-safety: thread-safe.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "core/model_config.h"
#include "core/status.h"

namespace inference {
class ModelConfig;
}

namespace evenkeel {

// Which of the version folders are served.
struct VersionPolicy {
  enum class Kind : uint8_t { kLatest, kAll, kSpecific };
  Kind kind = Kind::kLatest;
  uint32_t latest = 1;            // kLatest: that many, the highest numbers
  std::vector<int64_t> specific;  // kSpecific
};

struct TritonConfig {
  ModelConfig config;  // without version, path, engine: those come from the version folder
  VersionPolicy versions;
  std::string platform;
  std::string backend;
  std::string default_model_filename;  // a plain file name; empty when not given
};

// Where a field stands in the text, to begin a message with: "config.pbtxt:3:7: ". `field` is a
// top-level field's name, `index` its occurrence, `inner` a field inside it or "".
using FieldLocator =
    std::function<std::string(std::string_view field, int index, std::string_view inner)>;
// Whether a top-level field was given at all. Fields that were not keep what `base` says.
using FieldGiven = std::function<bool(std::string_view field)>;

// Labels are read from `base.folder`.
Result<TritonConfig> ReadTritonConfig(const inference::ModelConfig& message,
                                      const ModelConfig& base, const FieldLocator& where,
                                      const FieldGiven& given);

}  // namespace evenkeel
