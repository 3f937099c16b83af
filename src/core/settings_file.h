// Reads a settings file (config.yaml) into flat keys with their lines.
//
// Thread-safety: thread-safe.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "core/status.h"

namespace evenkeel {

struct FileSetting {
  std::string key;  // a key of AllSettings(): "http.port"
  std::string text;
  int line = 0;  // from 1
};

// A missing file has no settings. Errors (kInvalidArgument, with path, line and key): not readable,
// no YAML, an unknown or repeated key (the nearest known one is suggested), a value that is no
// single text. Values are not checked (see CheckSetting).
Result<std::vector<FileSetting>> ReadSettingsFile(const std::string& path);

// The same from text; `path` is for messages.
Result<std::vector<FileSetting>> ParseSettings(const std::string& path, const std::string& yaml);

}  // namespace evenkeel
